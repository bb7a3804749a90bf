"""Textured scenes against outlines and spectra computed another way."""

import jax
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from numpy.testing import assert_array_equal

from slots.config import ConfigError
from slots.data import TexturedConfig
from slots.data.textured import CENTRES, KEPT, RADII

SIDE = 64


def scenes(**settings):
    data = TexturedConfig(held_out_size=150, **settings).make()
    return jax.device_get(next(data.held_out("val", 150)))


@pytest.fixture(scope="module")
def full():
    return scenes()


@pytest.fixture(scope="module")
def outd():
    return scenes(variant="outd")


def ring_of_points(count, radius=1.0, turned=0.0):
    angle = turned + 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def corners(shape):
    """Of a polygon around 0, as (x, y)."""
    if shape == 2:
        return ring_of_points(4, turned=np.pi / 4)
    if shape == 3:
        return ring_of_points(3, turned=np.pi / 3)
    if shape == 5:
        inner = np.cos(2 * np.pi / 5) / np.cos(np.pi / 5)
        tips, notches = ring_of_points(5), ring_of_points(5, inner, np.pi / 5)
        return np.stack([tips, notches], axis=1).reshape(-1, 2)
    w, long = 1 / 3, np.sqrt(8) / 3
    quarter = np.array([(long, -w), (long, w), (w, w)])
    turns = [np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([quarter @ turn for turn in turns])


def outline(shape, position, radius, rotation):
    """Pixels whose centre is inside, by polygons and circles in double precision."""
    place = (2 * (np.arange(SIDE) + 0.5) / SIDE - 1) / 2
    y, x = np.meshgrid(place - position[0] / 2, place - position[1] / 2, indexing="ij")
    points = np.stack([x, y], axis=-1).reshape(-1, 2) / radius
    turn = np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    points = points @ turn
    distance = np.linalg.norm(points, axis=-1)
    if shape in (1, 4):
        found = (distance <= 1) & ((shape == 1) | (distance >= 0.5))
    else:
        found = Outline(corners(shape)).contains_points(points)
    return found.reshape(SIDE, SIDE)


def objects(batch, i):
    own = batch.properties
    for m in np.flatnonzero(batch.visibility[i]):
        yield (
            m + 1,
            own["shape"][i, m],
            own["position"][i, m],
            own["radius"][i, m],
            own["rotation"][i, m],
        )


@pytest.mark.parametrize("kind", ["full", "outd"])
def test_labels_are_the_outlines_later_on_top(kind, request):
    batch = request.getfixturevalue(kind)
    wrong = 0
    for i in range(150):
        expected = np.zeros((SIDE, SIDE), np.int32)
        for label, *own in objects(batch, i):
            expected[outline(*own)] = label
        wrong += (expected != batch.segmentation[i]).sum()
    assert wrong <= 5  # of 614,400: centres that lie on an outline up to rounding


@pytest.mark.parametrize("kind", ["full", "outd"])
def test_every_object_keeps_its_part(kind, request):
    batch = request.getfixturevalue(kind)
    shares = [
        (batch.segmentation[i] == label).sum() / outline(*own).sum()
        for i in range(150)
        for label, *own in objects(batch, i)
    ]
    assert min(shares) >= KEPT - 0.01
    assert min(shares) < KEPT + 0.1  # some are hidden as far as may be


def test_numbers_and_ranges(full, outd):
    assert full.image.shape == (150, SIDE, SIDE, 3)
    assert full.image.dtype == np.uint8
    assert full.segmentation.dtype == np.int32
    counts = np.bincount(full.num_objects, minlength=7)
    assert counts[:2].sum() == 0
    assert (abs(counts[2:] - 30) < 4 * np.sqrt(24)).all()
    assert_array_equal(full.visibility.sum(axis=1), full.num_objects)
    assert set(full.properties["shape"][full.visibility]) == {1, 2, 3, 4}
    assert set(outd.properties["shape"][outd.visibility]) == {5, 6}
    radius = full.properties["radius"][full.visibility]
    assert radius.min() >= RADII[0]
    assert radius.max() <= RADII[1]
    position = full.properties["position"][full.visibility]
    assert abs(position).max() <= 2 * CENTRES[1] - 1
    assert abs(position).max() > 0.9 * (2 * CENTRES[1] - 1)
    for value in full.properties.values():
        assert not value[~full.visibility].any()


@pytest.mark.parametrize(("variant", "low", "high"), [("full", 2, 16), ("outd", 8, 24)])
def test_frequencies_of_the_ground(variant, low, high):
    """Nearly all power lies between the least and the most cycles in a picture."""
    batch = scenes(variant=variant, min_objects=0, max_objects=1)
    empty = batch.image[batch.num_objects == 0].astype(np.float64)
    assert len(empty) > 50
    window = np.hanning(SIDE)[:, None] * np.hanning(SIDE)  # little leaks from a wave to others
    waves = empty - empty.mean(axis=(1, 2), keepdims=True)
    power = abs(np.fft.fft2(waves * window[None, :, :, None], axes=(1, 2))) ** 2
    cycles = np.fft.fftfreq(SIDE, 1 / SIDE)
    radius = np.hypot(cycles[:, None], cycles)
    power = power.sum(axis=(0, 3))
    # Clipping at black and white adds what lies outside.
    assert power[(radius > low - 1.5) & (radius < high + 1.5)].sum() > 0.9 * power.sum()
    assert power[radius > (low + high) / 2].sum() > 0.2 * power.sum()
    assert power[radius < (low + high) / 2].sum() > 0.2 * power.sum()


def test_camouflage_shares_all_but_the_phases(full):
    """A region's mean colour differs from the ground's as far as waves cut off, not by its own."""
    camo = scenes(variant="camo")

    def difference(batch):
        found = []
        for picture, labels in zip(batch.image.astype(float), batch.segmentation, strict=True):
            ground = picture[labels == 0].mean(axis=0)
            found += [
                abs(picture[labels == k].mean(axis=0) - ground) for k in np.unique(labels)[1:]
            ]
        return np.mean(found)

    assert difference(camo) < difference(full) / 3
    assert_array_equal(camo.segmentation, full.segmentation)
    outlined = [
        (abs(np.diff(p.astype(int), axis=1)).sum(-1)[np.diff(s, axis=1) != 0]).mean()
        for p, s in zip(camo.image, camo.segmentation, strict=True)
    ]
    assert np.mean(outlined) > 30  # and yet there is an edge


def test_a_scene_is_the_same_in_any_batch(full):
    again = jax.device_get(next(TexturedConfig(held_out_size=150).make().held_out("val", 3)))
    assert_array_equal(again.image, full.image[:3])
    assert_array_equal(again.segmentation, full.segmentation[:3])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"min_objects": 7}, "min_objects=7"),
        ({"min_objects": 0, "max_objects": 0}, "max_objects=0"),
        ({"max_objects": 11}, "max_objects=11"),
        ({"resolution": 31}, "resolution=31"),
    ],
)
def test_settings_that_cannot_be_drawn(settings, key):
    with pytest.raises(ConfigError, match=f"data.{key} should be"):
        TexturedConfig(**settings)
