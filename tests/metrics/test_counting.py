import jax.numpy as jnp
import numpy as np
import pytest

from slots import metrics

from .examples import CLIP_PRED, CLIP_TRUE, PRED, TRUE, row


def test_hand_examples():
    slots, segments = metrics.slot_count(PRED), metrics.segment_count(TRUE)
    assert slots.dtype == segments.dtype == jnp.int32
    np.testing.assert_array_equal(slots, [2])
    np.testing.assert_array_equal(segments, [4])
    np.testing.assert_array_equal(metrics.segment_count(TRUE, background=False), [3])
    np.testing.assert_array_equal(metrics.slot_count(CLIP_PRED), [2])
    np.testing.assert_array_equal(metrics.segment_count(CLIP_TRUE), [2])


def test_gaps_absent_background_and_ignored_pixels():
    labels = np.array([[[1, 1, 5]], [[0, 0, 0]]])
    ignore = np.array([[[False, False, True]]] * 2)
    np.testing.assert_array_equal(metrics.segment_count(labels), [2, 1])
    np.testing.assert_array_equal(metrics.segment_count(labels, background=False), [2, 0])
    np.testing.assert_array_equal(metrics.segment_count(labels, ignore=ignore), [1, 1])
    np.testing.assert_array_equal(metrics.slot_count(labels, ignore=ignore), [1, 1])


@pytest.mark.parametrize(("min_pixels", "number"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_small_slots_may_be_left_out(min_pixels, number):
    counted = metrics.slot_count(row(0, 1, 1, 2, 2, 2), min_pixels=min_pixels)
    np.testing.assert_array_equal(counted, [number])


def test_labels_out_of_range_have_no_number():
    labels = np.array([[[0, 1]], [[0, 4]]])
    np.testing.assert_array_equal(metrics.slot_count(labels, num_pred=2), [2, -1])
    np.testing.assert_array_equal(metrics.segment_count(labels, num_true=2), [2, -1])
