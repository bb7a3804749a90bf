import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv

from slots.config import ConfigError, override
from slots.data.multi_dsprites import (
    _HEART,
    NUM_SPRITES,
    MultiDSpritesConfig,
    factors,
    paint,
)

SQUARE, ELLIPSE, HEART = range(3)
CENTRES = np.arange(64) + 0.5
draw_one = jax.jit(
    jax.vmap(lambda s: paint(s[:, None], jnp.ones(1, jnp.uint32), jnp.uint32(0)) == 1)
)


@pytest.fixture(scope="module", params=sorted(NUM_SPRITES))
def scenes(request):
    """256 scenes of a variant."""
    (batch,) = MultiDSpritesConfig(variant=request.param).make().held_out("val", 256, 256)
    return request.param, batch


def inside(shape, scale, orientation, x, y):
    """Reference: the outline's function at every pixel centre, from physical factors."""
    dx, dy = CENTRES[None, :] - 16 - 32 * x, CENTRES[:, None] - 16 - 32 * y
    u = (np.cos(orientation) * dx - np.sin(orientation) * dy) / scale
    v = (np.sin(orientation) * dx + np.cos(orientation) * dy) / scale
    if shape == SQUARE:
        return np.maximum(abs(u), abs(v)) <= 9.6
    if shape == ELLIPSE:
        return (u / 12.75) ** 2 + (v / 7.22) ** 2 <= 1
    turn = np.degrees(np.arctan2(abs(u), v))
    return np.hypot(u, v) <= np.interp(turn, np.linspace(0, 180, 25), _HEART)


def lattice(count, shape):
    rng = np.random.default_rng(shape)
    return np.stack(
        [np.full(count, shape), *(rng.integers(n, size=count) for n in (6, 40, 32, 32))], axis=1
    ).astype(np.int32)


# Single pixels on the very edge: fixed-point squares (0.0003 px), the table of radii (0.003 px).
@pytest.mark.parametrize(("shape", "wrong"), [(SQUARE, 0), (ELLIPSE, 10), (HEART, 25)])
def test_outlines_are_the_functions_at_pixel_centres(shape, wrong):
    sprites = lattice(1000, shape)
    values = [np.linspace(0.5, 1, 6), np.linspace(0, 2 * np.pi, 40), *[np.linspace(0, 1, 32)] * 2]
    expected = [
        inside(s, *(v[i] for v, i in zip(values, where, strict=True))) for s, *where in sprites
    ]
    assert (draw_one(sprites) != np.stack(expected)).sum() <= wrong


@pytest.mark.parametrize(
    ("shape", "expected", "tolerance"),
    [
        (SQUARE, [100, 144, 196, 256, 324, 400], 0),
        (ELLIPSE, [76, 104, 144, 184, 228, 288], 0),
        (HEART, [58, 84, 108, 140, 182, 222], 4),
    ],
)
def test_upright_sprites_have_the_published_pixel_counts(shape, expected, tolerance):
    counts = draw_one(np.array([[shape, k, 0, 0, 0] for k in range(6)], np.int32)).sum((1, 2))
    assert abs(counts - np.array(expected)).max() <= tolerance


def test_turned_squares_have_the_published_pixel_counts():
    squares = draw_one(np.array([[SQUARE, 5, o, 0, 0] for o in range(40)], np.int32))
    counts = np.asarray(squares.sum((1, 2)))
    assert counts[0] == counts[39] == 400
    assert 364 <= counts[1:39].min() <= counts[1:39].max() <= 372


def test_first_and_last_orientation_look_the_same():
    sprites = np.concatenate([lattice(200, shape) for shape in range(3)])
    first, last = sprites.copy(), sprites.copy()
    first[:, 2], last[:, 2] = 0, 39
    np.testing.assert_array_equal(draw_one(first), draw_one(last))


def test_hearts_stand_on_their_tip_and_turn_counter_clockwise():
    upright, turned = draw_one(np.array([[HEART, 5, 0, 16, 16], [HEART, 5, 10, 16, 16]], np.int32))
    widths = np.asarray(upright.sum(1))
    rows = np.nonzero(widths)[0]
    assert widths[rows[0] : rows[0] + 4].max() > 2 * widths[rows[-1] - 3 :].max()
    columns = np.nonzero(np.asarray(turned.sum(0)))[0]  # the tip went from below to the right
    assert turned[:, columns[-1] - 2 :].sum() < turned[:, : columns[0] + 3].sum()


def test_fields(scenes):
    variant, batch = scenes
    data = MultiDSpritesConfig(variant=variant).make()
    m, c = NUM_SPRITES[variant][1], 1 if variant == "binarized" else 3
    assert data.max_objects == m
    assert data.image_shape == batch.image.shape[1:] == (64, 64, c)
    assert (batch.image.dtype, batch.segmentation.dtype) == (np.uint8, np.int32)
    assert batch.pixels.dtype == np.float32
    assert 0 <= batch.pixels.min() <= batch.pixels.max() <= 1
    dtypes = {name: p.dtype for name, p in batch.properties.items()}
    floats = ("scale", "orientation", "x", "y", "color", "visible_px")
    assert dtypes == {"shape": np.int32, **dict.fromkeys(floats, np.float32)}
    assert batch.properties["color"].shape == (256, m, c)
    exists = np.asarray(batch.visibility)
    assert set(np.asarray(batch.num_objects)) == set(range(NUM_SPRITES[variant][0], m + 1))
    np.testing.assert_array_equal(exists, np.arange(m) < np.asarray(batch.num_objects)[:, None])
    for values in batch.properties.values():
        assert (np.asarray(values)[~exists] == 0).all()
    assert (np.asarray(batch.properties["shape"])[exists] > 0).all()
    counts = (np.asarray(batch.segmentation)[:, None] == np.arange(1, m + 1)[:, None, None]).sum(
        (2, 3)
    )
    np.testing.assert_array_equal(batch.properties["visible_px"], counts)


def test_pictures_and_labels_follow_from_the_properties(scenes):
    variant, batch = scenes
    batch = jax.device_get(batch)
    wrong = 0
    for i in range(100):
        p = {name: values[i].astype(np.float64) for name, values in batch.properties.items()}
        labels = np.zeros((64, 64), int)
        for m in range(batch.num_objects[i]):
            where = (p["scale"][m], p["orientation"][m], p["x"][m], p["y"][m])
            labels[inside(p["shape"][m] - 1, *where)] = m + 1  # later sprites cover earlier ones
        wrong += (labels != batch.segmentation[i]).sum()
        colors = np.floor(255 * p["color"] + 0.5)
        for m in range(batch.num_objects[i]):
            assert (batch.image[i][batch.segmentation[i] == m + 1] == colors[m]).all()
        background = np.unique(batch.image[i][batch.segmentation[i] == 0], axis=0)
        assert len(background) == 1
        if variant == "binarized":
            assert (background == 0).all()
        if variant == "colored_on_grayscale":
            assert len(set(background[0])) == 1
    assert wrong <= 3  # hearts, whose radius is read from a table


def sampled(variant, count, **settings):
    """Factors of many scenes, without pictures: sprites, colours, backgrounds, existence."""
    draw = jax.vmap(
        lambda i: factors(jax.random.fold_in(jax.random.key(3), i), variant, **settings)
    )
    sprites, colors, backgrounds, counts = jax.device_get(jax.jit(draw)(np.arange(count)))
    return sprites, colors, backgrounds, np.arange(sprites.shape[2]) < counts[:, None]


def test_scenes_without_a_bright_green_square_are_as_frequent_as_published():
    sprites, colors, _, exists = sampled("colored_on_grayscale", 100_000)
    hue, saturation, value = np.moveaxis(rgb_to_hsv(colors), -1, 0)
    assert min(saturation.min(), value.min()) > 0.499
    green = (hue >= 0.25) & (hue <= 0.42)
    found = (exists & (sprites[:, 0] == SQUARE) & green).any(axis=1)
    assert abs(1 - found.mean() - 0.817) < 0.005
    np.testing.assert_allclose(np.histogram(hue, 10, (0, 1))[0] / hue.size, 0.1, atol=0.002)


@pytest.mark.parametrize("variant", sorted(NUM_SPRITES))
def test_factors_are_uniform(variant):
    sprites, colors, backgrounds, exists = sampled(variant, 20_000)
    for values, size in zip(np.moveaxis(sprites, 1, 0), (3, 6, 40, 32, 32), strict=True):
        counts = np.bincount(values.ravel(), minlength=size)
        assert len(counts) == size
        deviation = np.sqrt(values.size / size * (1 - 1 / size))
        assert abs(counts - values.size / size).max() < 4 * deviation
    least, most = NUM_SPRITES[variant]
    shares = np.bincount(exists.sum(1))[least:] / len(exists)
    np.testing.assert_allclose(shares, 1 / (most - least + 1), atol=0.015)
    if variant != "binarized":
        np.testing.assert_allclose(backgrounds.mean(0), 0.5, atol=0.01)
        np.testing.assert_allclose(np.quantile(backgrounds, 0.25), 0.25, atol=0.01)
    if variant == "colored_on_colored":
        np.testing.assert_allclose(
            np.quantile(colors, [0.1, 0.5], axis=(0, 1)).T, [[0.1, 0.5]] * 3, atol=0.01
        )


def test_unique_orientations_leave_out_the_repeated_one():
    sprites, *_ = sampled("binarized", 20_000, unique_orientations=True)
    assert set(np.unique(sprites[:, 2])) == set(range(39))


def test_grey_can_be_repeated_into_three_channels(scenes):
    variant, batch = scenes
    if variant == "binarized":
        data = MultiDSpritesConfig(variant=variant, to_rgb=True).make()
        assert data.image_shape == (64, 64, 3)
        (rgb,) = data.held_out("val", 8, 8)
        np.testing.assert_array_equal(rgb.image, np.repeat(batch.image[:8], 3, axis=-1))
        assert rgb.properties["color"].shape == (8, 3, 3)
    else:
        with pytest.raises(ConfigError, match=f"data.to_rgb=true .* got '{variant}'"):
            MultiDSpritesConfig(variant=variant, to_rgb=True)


def test_settings_are_typed():
    config = override(MultiDSpritesConfig(), ["variant=binarized", "to_rgb=true"])
    assert config == MultiDSpritesConfig(variant="binarized", to_rgb=True)


def test_scenes_stay_what_they_are(scenes):
    """The held-out scenes are a benchmark: the same on every device and in every version."""
    variant, batch = scenes
    arrays = (batch.image, batch.segmentation, batch.properties["color"])
    expected = {
        "binarized": [2594862241, 2078608176, 1431362176],
        "colored_on_colored": [434850686, 3050873910, 3842912439],
        "colored_on_grayscale": [4262012308, 3853355035, 2965521503],
    }
    assert [zlib.crc32(np.asarray(a).tobytes()) for a in arrays] == expected[variant]
