import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.data import DigitsConfig
from slots.data.digits import CLASSES, target

TASKS = sorted(CLASSES)


@pytest.fixture(scope="module", params=[2, 3])
def scenes(request):
    config = DigitsConfig(num_digits=request.param, held_out_size=300)
    return jax.device_get(next(config.make().held_out("val", 300)))


def test_shapes_and_dtypes(scenes):
    count = scenes.visibility.shape[1]
    assert scenes.image.shape == (300, 64, 64, 1)
    assert scenes.image.dtype == np.uint8
    assert scenes.segmentation.shape == (300, 64, 64)
    assert scenes.properties["digit"].shape == (300, count)
    for labels in (scenes.segmentation, scenes.properties["digit"], scenes.label):
        assert labels.dtype == np.int32
    assert scenes.visibility.all()
    assert_array_equal(scenes.num_objects, np.full(300, count))


@pytest.mark.parametrize(
    ("digits", "want"),
    [((9, 9), (18, 0, 0)), ((3, 7), (10, 4, 14)), ((5, 6, 0), (11, 10, 26))],
)
def test_targets(digits, want):
    assert tuple(int(target(jnp.array(digits), t)) for t in ("add", "diff", "mixed")) == want


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("task", TASKS)
def test_every_target_is_a_class(task, count):
    """All scenes there are; what never occurs is as published."""
    digits = np.stack(np.meshgrid(*[np.arange(10)] * count), -1).reshape(-1, count)
    never = {("mixed", 2): {7, 8}, ("mixed", 3): {43}}.get((task, count), set())
    number = DigitsConfig(task=task, num_digits=count).make().num_classes
    assert (
        set(np.asarray(target(jnp.asarray(digits, jnp.int32), task)).tolist())
        == set(range(number)) - never
    )


@pytest.mark.parametrize("task", TASKS)
def test_label_is_the_target_of_the_digits(task):
    (batch,) = DigitsConfig(task=task, held_out_size=50).make().held_out("val", 50)
    assert_array_equal(batch.label, target(batch.properties["digit"] - 1, task))


def test_digits_are_about_as_frequent(scenes):
    found = scenes.properties["digit"]
    share = np.bincount(found.ravel(), minlength=11) / found.size
    assert share[0] == 0
    assert_allclose(share[1:], 0.1, atol=0.06)


def test_the_pictures_of_a_task_are_those_of_the_others():
    add, diff = (next(DigitsConfig(task=t).make().train(4)) for t in ("add", "diff"))
    assert_array_equal(add.image, diff.image)


def test_a_scene_depends_on_its_number_alone():
    data = DigitsConfig(held_out_size=12).make()
    whole = jax.device_get(next(data.held_out("val", 12)))
    parts = jax.device_get(list(data.held_out("val", 5)))
    for name in ("segmentation", "label", "index"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert_array_equal(joined, getattr(whole, name))
    image = np.concatenate([part.image for part in parts])
    assert_array_equal(image, whole.image)
    assert len(np.unique(image, axis=0)) == 12


def test_segmentation_is_what_is_more_than_half_covered(scenes):
    assert_array_equal(scenes.segmentation > 0, scenes.image[..., 0] > 127)
    for labels in scenes.segmentation:
        assert set(np.unique(labels)) == set(range(scenes.visibility.shape[1] + 1))


def test_digits_are_where_they_belong(scenes):
    """Middles of bounding boxes; a 1 and a 7 leave the left of theirs empty."""
    count = scenes.visibility.shape[1]
    rows = [(-20, 20), (-20, 20)] if count == 2 else [(-20, 20), (-20, -14), (14, 20)]
    columns = [(-20, -10), (10, 20), (10, 20)]
    for labels, digits in zip(scenes.segmentation, scenes.properties["digit"] - 1, strict=True):
        for m, digit in enumerate(digits):
            if digit in (1, 4, 7):
                continue
            y, x = (places - 31.5 for places in np.nonzero(labels == m + 1))
            for found, (low, high) in ((y, rows[m]), (x, columns[m])):
                assert low - 1.5 <= (found.max() + found.min()) / 2 <= high + 1.5


def test_digits_of_one_kind_vary_and_kinds_differ(scenes):
    """Strokes drawn: an 8 covers most, a 1 least, whatever the jitter."""
    area = {digit: [] for digit in range(10)}
    for labels, digits in zip(scenes.segmentation, scenes.properties["digit"] - 1, strict=True):
        for m, digit in enumerate(digits):
            area[int(digit)].append((labels == m + 1).sum())
    means = {digit: np.mean(areas) for digit, areas in area.items()}
    assert max(means, key=means.get) == 8
    assert min(means, key=means.get) == 1
    assert all(np.std(areas) > 3 for areas in area.values())


def test_resolution():
    large = jax.device_get(next(DigitsConfig(held_out_size=20).make().held_out("val", 20)))
    small = DigitsConfig(resolution=32, held_out_size=20).make()
    assert small.image_shape == (32, 32, 1)
    shrunk = np.float32(next(small.held_out("val", 20)).image)
    mean = np.float32(large.image).reshape(20, 32, 2, 32, 2, 1).mean((2, 4))
    assert abs(shrunk - mean).mean() < 2.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_digits": 4}, "data.num_digits=4"), ({"resolution": 8}, "data.resolution=8")],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        DigitsConfig(**settings)
