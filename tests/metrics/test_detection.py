import itertools
import math

import jax
import numpy as np
import pytest

from slots import metrics

from .examples import random_maps

SLOTS = 3


def soft(pred, sure=0.8):
    """Masks that are `sure` of labels counted from 1, and of none where those are 0."""
    pred, sure = np.asarray(pred), np.broadcast_to(sure, np.shape(pred))
    own = pred[:, None] == np.arange(1, SLOTS + 1)[:, None, None]
    rest = np.where(pred == 0, 1 / SLOTS, (1 - sure) / (SLOTS - 1))
    return np.where(own, sure[:, None], rest[:, None]).astype(np.float32)


def row(*values):
    """One picture, one pixel high; of one size, so that there is less to compile."""
    return np.array([*values, *[0] * (9 - len(values))]).reshape(1, 1, 9)


def detect(true, pred, sure=0.8, **options):
    return metrics.slot_detections(true, soft(pred, sure), num_true=4, **options)


def rows(confidence, right, objects):
    return metrics.SlotDetections(
        np.array(confidence, np.float32), np.array(right), np.array(objects)
    )


def joined(*found):
    return metrics.SlotDetections(*map(np.concatenate, zip(*found, strict=True)))


def ap(true, pred, sure=0.8, **options):
    return metrics.slot_ap(detect(true, pred, sure, **options))


TRUE = row(0, 0, 0, 0, 0, 1, 1, 2, 2)
PRED = row(0, 3, 3, 0, 0, 1, 1, 2, 2)
SURE = row(0, 0.8, 0.8, 0, 0, 0.9, 0.9, 0.6, 0.8)


def test_right_wrong_right():
    """0.9 and 0.7 on the two objects, 0.8 on a piece of the background: 1/2 + 1/2 · 2/3."""
    found = detect(TRUE, PRED, SURE)
    np.testing.assert_allclose(found.confidence, [[0.9, 0.7, 0.8]], rtol=1e-6)
    assert found.right.tolist() == [[True, True, False]]
    assert found.objects.tolist() == [2]
    assert metrics.slot_ap(found) == pytest.approx(5 / 6)


@pytest.mark.parametrize("by", ["mask", "box"])
def test_the_same_by_boxes_where_all_is_a_box(by):
    assert ap(TRUE, PRED, SURE, by=by) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("right", "objects", "value"),
    [
        ([[True, False, True]], [2], 5 / 6),
        ([[True, False, True]], [4], 5 / 12),  # the missed half
        ([[True, True, False]], [2], 1),  # what comes after all objects are found costs nothing
        ([[False, True, True]], [2], 2 / 3),  # made monotone from the right
        ([[False, False, False]], [2], 0),
        ([[False, False, False]], [0], math.nan),
    ],
)
def test_area_under_the_curve(right, objects, value):
    found = metrics.slot_ap(rows([[0.9, 0.8, 0.7]], right, objects))
    assert found == pytest.approx(value, nan_ok=True)


def test_pictures_are_pooled():
    """One list for both pictures: yes (0.9), no (0.8), yes (0.7)."""
    found = rows([[0.7, math.nan], [0.8, 0.9]], [[True, False], [False, True]], [1, 1])
    assert metrics.slot_ap(found) == pytest.approx(5 / 6)
    # What could not be counted is left out, as is a picture without anything.
    more = rows([[math.nan] * 2] * 2, [[False] * 2] * 2, [-1, 0])
    assert metrics.slot_ap(joined(found, more)) == metrics.slot_ap(found)


def test_detections_in_pictures_without_objects_are_wrong():
    good, bad = detect(row(0, 1), row(0, 1), 0.6), detect(row(0, 0), row(0, 2), 0.9)
    assert good.right.tolist() == [[True, False, False]]
    assert not bad.right.any()
    assert math.isnan(metrics.slot_ap(bad))
    assert metrics.slot_ap(joined(good, bad)) == 0.5


def test_equal_confidence_goes_by_picture_and_slot():
    assert metrics.slot_ap(rows([[0.5], [0.5]], [[True], [False]], [1, 0])) == 1
    assert metrics.slot_ap(rows([[0.5], [0.5]], [[False], [True]], [0, 1])) == 0.5


def test_the_slot_of_the_background_detects_nothing():
    found = detect(row(0, 0, 0, 1), row(2, 2, 2, 1, 2))
    np.testing.assert_array_equal(np.isnan(found.confidence), [[False, True, True]])
    assert metrics.slot_ap(found) == 1


def test_pixels_without_a_sure_slot_belong_to_none():
    true, pred = row(1, 1, 1, 1), row(1, 0, 0, 0)
    assert ap(true, pred) == 0  # IoU 1/4
    assert ap(true, row(1, 1, 0, 0)) == 1  # 1/2 is enough
    assert ap(true, row(1, 1, 1, 1), row(0.9, 0.5, 0.5, 0.5)) == 0  # ½ is not sure


def test_a_ring_and_its_middle():
    """Hardly alike as segments, the same as boxes."""
    true = np.pad([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], ((0, 0), (2, 3), (3, 3)))
    pred = np.zeros_like(true)
    pred[0, 2, 3] = pred[0, 4, 5] = 1
    assert ap(true, pred) == 0
    assert ap(true, pred, by="box") == 1


def test_ignored_pixels_do_not_count():
    true, pred = row(1, 1, 1, 0, 0), row(1, 1, 1, 1, 1)
    ignore = row(0, 1, 1) > 0
    assert ap(true, pred) == 1  # 3/5
    assert ap(true, pred, ignore=ignore) == 0  # 1/3
    found = detect(row(1, 1, 1, 1), pred, row(0.6, 0.9, 0.9, 0.8, 0.7), ignore=ignore)
    np.testing.assert_allclose(found.confidence[0, 0], 0.7, rtol=1e-6)
    assert found.right.tolist() == [[True, False, False]]


@pytest.mark.parametrize("by", ["mask", "box"])
def test_a_picture_out_of_range_is_left_out(by):
    found = detect(row(0, 9), row(0, 1), by=by)
    assert found.objects.tolist() == [-1]
    assert np.isnan(found.confidence).all()
    assert metrics.slot_ap(joined(found, detect(row(0, 1), row(0, 1), by=by))) == 1


def box(inside):
    """Its pixels, filled up to a box."""
    y, x = np.nonzero(inside)
    filled = np.zeros_like(inside)
    filled[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
    return filled


def by_hand(true, pred, by):
    """Which labels of `pred` have an object, by trying all assignments."""
    shape = box if by == "box" else np.asarray

    def iou(a, b):
        return (a & b).sum() / (a | b).sum()

    objects = [shape(true == i) for i in np.unique(true) if i > 0]
    labels = [j for j in np.unique(pred) if j > 0 and iou(true == 0, pred == j) < 0.5]
    table = np.zeros((len(objects), len(labels) + len(objects)))
    for (i, a), (j, label) in itertools.product(enumerate(objects), enumerate(labels)):
        table[i, j] = iou(a, shape(pred == label))
    best = max(
        itertools.permutations(range(table.shape[1]), len(objects)),
        key=lambda order: sum(table[i, j] for i, j in enumerate(order)),
    )
    return labels, {labels[j] for i, j in enumerate(best) if table[i, j] >= 0.5}


@pytest.mark.parametrize("by", ["mask", "box"])
def test_equals_all_assignments_tried(by):
    rng = np.random.default_rng(3)
    true, pred = random_maps(2, (30, 8, 9), 3, 4)
    pred = np.where(rng.random(true.shape) < 0.7, (true + 1) % 4, pred)
    sure = rng.uniform(0.55, 0.95, pred.shape)
    found = detect(true, pred, sure, by=by)
    for n, (labels, right) in enumerate(by_hand(t, p, by) for t, p in zip(true, pred, strict=True)):
        assert found.right[n].tolist() == [j in right for j in (1, 2, 3)]
        means = [sure[n][pred[n] == j].mean() if j in labels else np.nan for j in (1, 2, 3)]
        np.testing.assert_allclose(found.confidence[n], means, rtol=1e-5)
    assert 0 < metrics.slot_ap(found) < 1


def test_traced_it_is_the_same():
    traced = jax.jit(lambda t, m: metrics.slot_detections(t, m, by="box", num_true=4))
    jax.tree.map(
        np.testing.assert_array_equal,
        tuple(traced(TRUE, soft(PRED, SURE))),
        tuple(detect(TRUE, PRED, SURE, by="box")),
    )


def test_bad_input():
    with pytest.raises(ValueError, match="has shape"):
        detect(TRUE[..., :5], PRED)
    with pytest.raises(Exception, match="by"):
        detect(TRUE, PRED, by="centre")
