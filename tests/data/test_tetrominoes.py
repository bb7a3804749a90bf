import zlib

import jax
import numpy as np
import pytest

from slots.config import override
from slots.data import tetrominoes
from slots.data.tetrominoes import COLORS, SHADES, SHAPES, TetrominoesConfig, place


@pytest.fixture(scope="module")
def scenes():
    (batch,) = TetrominoesConfig(held_out_size=1024).make().held_out("val", 1024)
    return batch


@pytest.fixture(scope="module")
def many():
    """The pieces of 10^5 scenes, [scene, (shape, colour, row, column), piece]."""
    draw = jax.jit(lambda i: jax.vmap(lambda j: place(jax.random.fold_in(jax.random.key(5), j)))(i))
    return np.concatenate([draw(i) for i in np.arange(100_000).reshape(10, -1)])


def drawn(shape, color, row, column, shading):
    """Slow reference: one piece alone, as picture and coverage."""
    image, inside = np.zeros((35, 35, 3)), np.zeros((35, 35), bool)
    for r, line in enumerate(SHAPES[shape].split("/")):
        for c, mark in enumerate(line):
            if mark == "#":
                at = slice(row + 5 * r, row + 5 * r + 5), slice(column + 5 * c, column + 5 * c + 5)
                image[at] = SHADES[shading][..., None] * COLORS[color]
                inside[at] = True
    return image, inside


def redrawn(batch, i, shading):
    """Scene `i` drawn from its properties."""
    image, segmentation = np.zeros((35, 35, 3)), np.zeros((35, 35), int)
    p = batch.properties
    for m in range(3):
        row, column = round(p["y"][i, m] * 35), round(p["x"][i, m] * 35)
        codes = p["shape"][i, m] - 1, p["color_code"][i, m] - 1
        picture, inside = drawn(*codes, row, column, shading)
        assert not segmentation[inside].any(), "pieces overlap"
        image, segmentation = image + picture, segmentation + (m + 1) * inside
    return image, segmentation


def test_the_shapes_are_all_fixed_tetrominoes():
    grids = [np.array([[mark == "#" for mark in row] for row in s.split("/")]) for s in SHAPES]
    assert len(set(SHAPES)) == 19
    assert all(grid.sum() == 4 for grid in grids)
    for grid in grids:  # closed under quarter turns and reflection
        for other in (np.rot90(grid), grid[:, ::-1]):
            assert any(np.array_equal(other, g) for g in grids)
    assert SHAPES[10:14] == [".##/##.", "#./##/.#", "##./.##", ".#/##/#."]


def test_fields(scenes):
    data = TetrominoesConfig().make()
    assert data.image_shape == scenes.image.shape[1:] == (35, 35, 3)
    assert data.max_objects == 3
    assert (scenes.image.dtype, scenes.segmentation.dtype) == (np.uint8, np.int32)
    assert scenes.pixels.dtype == np.float32
    assert 0 <= scenes.pixels.min() <= scenes.pixels.max() <= 1
    assert scenes.visibility.all()
    assert (scenes.num_objects == 3).all()
    dtypes = {name: p.dtype for name, p in scenes.properties.items()}
    codes, floats = ("shape", "color_code"), ("color", "x", "y")
    assert dtypes == {n: np.int32 for n in codes} | {n: np.float32 for n in floats}
    np.testing.assert_array_equal(
        scenes.properties["color"], COLORS[np.asarray(scenes.properties["color_code"]) - 1]
    )


def test_pictures_and_labels_follow_from_the_properties(scenes):
    batch = jax.device_get(scenes)
    for i in range(200):
        image, segmentation = redrawn(batch, i, "published")
        np.testing.assert_array_equal(batch.image[i], image)
        np.testing.assert_array_equal(batch.segmentation[i], segmentation)


def test_flat_cells_and_the_crop(scenes):
    config = TetrominoesConfig(shading="flat", resolution=32)
    data = config.make()
    assert data.image_shape == (32, 32, 3)
    (batch,) = data.held_out("val", 16, 16)
    batch = jax.device_get(batch)
    np.testing.assert_array_equal(batch.segmentation, scenes.segmentation[:16, 1:33, 1:33])
    for i in range(16):
        image, _ = redrawn(batch, i, "flat")
        np.testing.assert_array_equal(batch.image[i], image[1:33, 1:33])


def test_every_piece_is_whole(scenes):
    for label in (1, 2, 3):
        inside = np.asarray(scenes.segmentation) == label
        assert (inside.sum((1, 2)) == 100).all()
        sums = (np.asarray(scenes.image) * inside[..., None]).sum((1, 2), dtype=int)
        np.testing.assert_array_equal(sums, 15_900 * scenes.properties["color"][:, label - 1])
    image = np.asarray(scenes.image)
    assert (image[np.asarray(scenes.segmentation) == 0] == 0).all()
    assert set(np.unique(image)) == {0, 63, 95, 127, 159, 191, 223, 255}


def test_no_two_pieces_overlap(many):
    cells = tetrominoes._CELLS[many[:, 0]] * 5 + many[:, 2:].transpose(0, 2, 1)[:, :, None]
    assert cells.min() == 0
    assert cells.max() == 30
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = abs(cells[:, a, :, None] - cells[:, b, None, :]).max(-1)
        assert apart.min() == 5


def test_shapes_and_colors_have_their_frequencies(many):
    shape, color = many[:, 0], many[:, 1]
    assert set(np.unique(shape)) == set(range(19))
    without = ((shape < 10) | (shape > 13)).all(axis=1).mean()
    assert abs(without - 0.502) < 0.006  # 0.4921 if only the place were redrawn
    counts = np.bincount(color.ravel(), minlength=6)
    assert (abs(counts - color.size / 6) < 3 * np.sqrt(color.size * 5 / 36)).all()
    # Relative weights, the number of orientations if every piece fitted equally well.
    weights = np.array([((a <= shape) & (shape < b)).mean() for a, b in ((0, 2), (18, 19))]) * 19
    np.testing.assert_allclose(weights, [2.16, 1.12], atol=0.02)


def test_places_are_symmetric_but_not_uniform(many):
    scene, piece = np.nonzero(many[:, 0] == 18)  # O: every reflection maps it to itself
    for axis in (2, 3):
        counts = np.bincount(many[scene, axis, piece], minlength=26)
        assert len(counts) == 26
        assert (abs(counts - counts[::-1]) < 4 * np.sqrt(counts + counts[::-1])).all()
        expected = counts.sum() / 26
        assert ((counts - expected) ** 2 / expected).sum() > 100  # uniform: 25 ± 7


def test_settings_are_typed():
    config = override(TetrominoesConfig(), ["resolution=32", "shading=flat", "seed=3"])
    assert config == TetrominoesConfig(resolution=32, shading="flat", seed=3)


def test_scenes_stay_what_they_are(scenes):
    """The held-out scenes are a benchmark: the same on every device and in every version."""
    sums = [zlib.crc32(np.asarray(a).tobytes()) for a in (scenes.image, scenes.segmentation)]
    assert sums == [528295354, 1317022371]
