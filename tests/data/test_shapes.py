import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.data import ShapesConfig
from slots.data.shapes import COLORS, EXTENT, GROUND, RADII

REACH = np.array([0, np.sqrt(np.pi / 2), 1, np.sqrt(4 * np.pi / np.sqrt(27))])


@pytest.fixture(scope="module")
def scenes():
    return jax.device_get(next(ShapesConfig(held_out_size=400).make().held_out("val", 400)))


def test_shapes_and_dtypes(scenes):
    assert scenes.image.shape == (400, 48, 48, 3)
    assert scenes.image.dtype == np.uint8
    assert scenes.segmentation.dtype == np.int32
    assert scenes.properties["position"].shape == (400, 4, 2)
    for name in ("size", "shape", "color"):
        assert scenes.properties[name].shape == (400, 4)
        assert scenes.properties[name].dtype == np.int32


def test_pixels_have_their_objects_colour(scenes):
    color = scenes.properties["color"]
    for picture, labels, own in zip(scenes.image, scenes.segmentation, color, strict=True):
        wanted = np.concatenate([[[GROUND] * 3], COLORS[own - 1]])[labels]
        assert_array_equal(picture, wanted)


def test_objects_are_where_and_as_large_as_they_say(scenes):
    side = (2 * (np.arange(48) + 0.5) / 48 - 1) * EXTENT
    pixel = side[1] - side[0]
    areas = {}
    for i in range(150):
        for m in np.flatnonzero(scenes.visibility[i]):
            mask = scenes.segmentation[i] == m + 1
            rows, columns = np.nonzero(mask)
            size, shape = scenes.properties["size"][i, m], scenes.properties["shape"][i, m]
            area = np.pi * RADII[size - 1] ** 2 / pixel**2
            areas.setdefault((int(size), int(shape)), []).append(len(rows) / area)
            center = [side[rows].mean(), side[columns].mean()]
            assert_allclose(center, scenes.properties["position"][i, m], atol=0.12)
    assert len(areas) == 6
    for kind, found in areas.items():
        assert_allclose(np.mean(found), 1, atol=0.06, err_msg=str(kind))


def test_outlines_differ(scenes):
    """Share of the bounding box that is filled: all, π/4, half."""
    filled = {1: [], 2: [], 3: []}
    for i in range(100):
        for m in np.flatnonzero(scenes.visibility[i]):
            if scenes.properties["size"][i, m] == 2:
                rows, columns = np.nonzero(scenes.segmentation[i] == m + 1)
                box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
                filled[int(scenes.properties["shape"][i, m])].append(len(rows) / box)
    assert_allclose([np.mean(filled[k]) for k in (1, 2, 3)], [1, np.pi / 4, 0.5], atol=0.06)


def test_objects_do_not_meet_and_are_inside(scenes):
    """The circles around any two of them do not, so neither do their outlines."""
    position, size = scenes.properties["position"], scenes.properties["size"]
    reach = np.array([0, *RADII])[size] * REACH[scenes.properties["shape"]]
    for i in range(400):
        there = np.flatnonzero(scenes.visibility[i])
        assert (abs(position[i]).max(-1) + reach[i])[there].max() <= EXTENT + 1e-4
        for a in there:
            for b in there[there > a]:
                gap = np.linalg.norm(position[i, a] - position[i, b])
                assert gap >= reach[i, a] + reach[i, b] - 1e-4


def test_what_does_not_exist_is_zero(scenes):
    gone = ~scenes.visibility
    for name, value in scenes.properties.items():
        assert (value[gone] == 0).all(), name
    for i in range(400):
        labels = set(np.unique(scenes.segmentation[i])) - {0}
        assert labels == set(np.flatnonzero(scenes.visibility[i]) + 1)
    assert_array_equal(scenes.num_objects, scenes.visibility.sum(1))


def test_everything_is_about_as_frequent(scenes):
    there = scenes.visibility
    for name, count in (("size", 2), ("shape", 3), ("color", 8)):
        share = np.bincount(scenes.properties[name][there], minlength=count + 1)[1:] / there.sum()
        assert_allclose(share, 1 / count, atol=0.04)
    numbers = np.bincount(scenes.num_objects, minlength=5)[1:] / 400
    assert_allclose(numbers, 0.25, atol=0.07)
    position = scenes.properties["position"][there]
    assert_allclose(position.mean(0), 0, atol=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_objects": 4, "max_objects": 3}, "data.min_objects=4"),
        ({"max_objects": 11}, "data.max_objects=11"),
        ({"resolution": 8}, "data.resolution=8"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        ShapesConfig(**settings)
