import itertools
import math

import jax
import numpy as np
import pytest

from slots import metrics

from .examples import random_maps

STATIC = {"num_true": 8, "num_pred": 8}


def counts_of(true, pred):
    return metrics.panoptic_counts_from_counts(metrics.contingency(true, pred, **STATIC))


def quality(true, pred):
    return metrics.panoptic_quality(counts_of(true, pred))


def by_hand(true, pred):
    """What one picture adds, by trying all assignments; label 0 of `pred` is no slot."""

    def iou(a, b):
        return (a & b).sum() / max((a | b).sum(), 1)

    ground = true == 0
    objects = [true == i for i in np.unique(true) if i > 0]
    slots = [pred == j for j in np.unique(pred) if j > 0]
    slots = [s for s in slots if not ground.any() or iou(ground, s) < 0.5]
    table = np.zeros((max(len(objects), 1), max(len(slots), len(objects), 1)))
    for (i, a), (j, b) in itertools.product(enumerate(objects), enumerate(slots)):
        table[i, j] = iou(a, b)
    best = max(
        itertools.permutations(range(table.shape[1]), len(table)),
        key=lambda order: sum(table[i, j] for i, j in enumerate(order)),
    )
    pairs = [table[i, j] for i, j in enumerate(best) if table[i, j] >= 0.5]
    return sum(pairs), len(pairs), len(slots) - len(pairs), len(objects) - len(pairs)


def test_hand_example():
    """IoUs of 0.8 and 0.6, a false slot and a missed object."""
    counts = metrics.PanopticCounts(*(np.array([x]) for x in (1.4, 2.0, 1.0, 1.0)))
    assert metrics.panoptic_quality(counts) == pytest.approx(1.4 / 3)
    true = np.repeat([0, 1, 2, 3], [8, 5, 5, 2])[None, None]
    pred = np.repeat([0, 4, 1, 0, 2, 3, 0], [4, 3, 5, 1, 3, 1, 3])[None, None]
    found = [float(x[0]) for x in counts_of(true, pred)]
    np.testing.assert_allclose(found, by_hand(true[0], pred[0]), rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_equals_all_assignments_tried(seed):
    true, pred = random_maps(seed, (30, 8, 9), 4, 5)
    # Most of them overlap by half or more only where they are made alike.
    alike = np.random.default_rng(seed).random(true.shape) < 0.75
    pred = np.where(alike, (true + seed) % 5, pred)
    found = np.stack(counts_of(true, pred), axis=-1)
    expected = [by_hand(t, p) for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert found[:, 1].max() >= 1
    total = np.sum(expected, axis=0)
    pooled = total[0] / (total[1] + total[2] / 2 + total[3] / 2)
    assert quality(true, pred) == pytest.approx(pooled)


def test_a_slot_that_holds_the_background_does_not_count():
    true = np.array([[[0, 0, 0, 1]]])
    assert quality(true, np.array([[[2, 2, 2, 3]]])) == 1
    assert quality(true, np.array([[[0, 0, 0, 3]]])) == 1  # nor does no slot
    assert quality(true, np.array([[[2, 0, 0, 3]]])) == pytest.approx(1 / 1.5)


def test_pixels_of_no_slot_count_in_the_objects():
    true = np.array([[[1, 1, 1, 1, 0]]])
    assert quality(true, np.array([[[1, 1, 1, 0, 0]]])) == pytest.approx(3 / 4)
    assert quality(true, np.array([[[1, 0, 0, 0, 0]]])) == 0


def test_nothing_anywhere_is_undefined():
    empty = np.zeros((2, 3, 3), int)
    assert math.isnan(quality(empty, empty))


def test_a_table_that_was_not_counted_is_left_out():
    true, pred = np.array([[[0, 1]], [[0, 9]]]), np.array([[[0, 1]], [[0, 1]]])
    compute = jax.jit(lambda t, p: metrics.contingency(t, p, **STATIC))
    counts = metrics.panoptic_counts_from_counts(compute(true, pred))
    assert [math.isnan(float(x[1])) for x in counts] == [True] * 4
    assert metrics.panoptic_quality(counts) == 1


def test_labels_of_slots_that_are_sure():
    masks = np.array([[[[0.5, 0.6, 0.2]], [[0.5, 0.4, 0.3]], [[0.0, 0.0, 0.5]]]], np.float32)
    np.testing.assert_array_equal(metrics.confident_labels(masks)[0, 0], [0, 1, 0])
    np.testing.assert_array_equal(metrics.confident_labels(masks, 0.6)[0, 0], [0, 0, 0])
    with pytest.raises(ValueError, match=r"from 0\.5 to below 1, got 0\.3"):
        metrics.confident_labels(masks, 0.3)
