import jax.numpy as jnp
import numpy as np
import pytest

from slots import metrics

from . import oracles
from .examples import random_maps


def test_the_lowest_slot_wins_a_tie():
    masks = np.array([[[0.4, 0.2], [0.5, 0.3]], [[0.4, 0.4], [0.1, 0.3]], [[0.2, 0.4], [0.4, 0.4]]])
    labels = metrics.labels_from_masks(jnp.asarray(masks[None], jnp.float32))
    assert labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels, [[[0, 1], [0, 2]]])


@pytest.mark.parametrize("size", [(14, 6), (9, 13), (3, 5), (4, 4)])
def test_masks_are_resized_by_half_pixels_before_the_argmax(size):
    masks = np.random.default_rng(0).dirichlet(np.ones(5), (2, 4, 4)).transpose(0, 3, 1, 2)
    labels = metrics.labels_from_masks(masks.astype(np.float32), size)
    expected = [np.argmax([oracles.bilinear(m, size) for m in one], 0) for one in masks]
    np.testing.assert_array_equal(labels, expected)


def test_frames_of_a_clip_are_images():
    masks = np.random.default_rng(1).random((2, 3, 4, 5, 6)).astype(np.float32)
    clip = metrics.labels_from_masks(masks, (7, 9))
    assert clip.shape == (2, 3, 7, 9)
    images = metrics.labels_from_masks(masks.reshape(6, 4, 5, 6), (7, 9))
    np.testing.assert_array_equal(clip.reshape(6, 7, 9), images)


def test_half_precision_masks_are_interpolated_in_float32():
    masks = np.random.default_rng(2).random((1, 3, 4, 4)).astype(np.float32)
    half = jnp.asarray(masks, jnp.bfloat16)
    np.testing.assert_array_equal(
        metrics.labels_from_masks(half, (11, 11)),
        metrics.labels_from_masks(half.astype(jnp.float32), (11, 11)),
    )


@pytest.mark.parametrize(("old", "new"), [(4, 8), (5, 3), (3, 7), (320, 224), (7, 7)])
def test_labels_come_from_the_nearest_pixel(old, new):
    labels = np.arange(old, dtype=np.uint16).reshape(1, old, 1)
    resized = metrics.resize_labels(labels, (new, 1))
    assert resized.dtype == jnp.uint16
    expected = [int(np.floor((i + 0.5) * old / new)) for i in range(new)]
    np.testing.assert_array_equal(resized[0, :, 0], expected)


def test_labels_of_clips_are_resized_in_both_directions():
    labels = np.arange(24).reshape(1, 2, 3, 4)
    resized = metrics.resize_labels(labels, (6, 2))
    np.testing.assert_array_equal(resized, labels.repeat(2, 2)[..., [1, 3]])


def test_compact_labels_keep_zero_order_and_frames():
    labels = np.array([[[[0, 70_000]], [[5, 70_000]]], [[[9, 9]], [[3, 3]]]], np.int64)
    compact = metrics.compact_labels(labels)
    assert compact.dtype == np.int32
    np.testing.assert_array_equal(compact, [[[[0, 2]], [[1, 2]]], [[[2, 2]], [[1, 1]]]])


def test_compact_labels_change_no_table():
    true, pred = random_maps(14, (3, 6, 6), 4, 4)
    far = metrics.compact_labels(true * 2**40)
    np.testing.assert_array_equal(metrics.contingency(far, pred), metrics.contingency(true, pred))


def test_compact_labels_refuse_negative_ones():
    with pytest.raises(ValueError, match="must start at 0, got -3"):
        metrics.compact_labels(np.array([[[0, -3]]]))
