import functools

import jax.numpy as jnp
import numpy as np
import pytest

from slots import metrics

from . import oracles
from .examples import CLASSES, CLIP_PRED, CLIP_TRUE, PRED, TRUE, random_maps, row

# Static numbers of labels, so that most tests share compiled functions.
STATIC = {"num_true": 8, "num_pred": 8}


def test_hand_examples():
    for background in (False, True):
        assert metrics.mean_best_overlap(TRUE, PRED, background=background, **STATIC)[0] == 0.5
        for weighted in (False, True):
            value = metrics.segmentation_covering(
                TRUE, PRED, weighted=weighted, background=background, **STATIC
            )
            assert value[0] == 0.5
    assert metrics.object_recall(TRUE, PRED, **STATIC)[0] == 1
    assert metrics.object_recall(TRUE, PRED, strict=True, **STATIC)[0] == 0
    assert metrics.mean_best_overlap(CLASSES, PRED, **STATIC)[0] == pytest.approx(5 / 12)
    assert metrics.mean_best_overlap(CLIP_TRUE, CLIP_PRED, **STATIC)[0] == pytest.approx(1 / 3)
    assert metrics.per_frame(metrics.mean_best_overlap)(CLIP_TRUE, CLIP_PRED)[0] == 1


def test_iou_has_one_value_a_pair():
    iou = metrics.iou_from_counts(metrics.contingency(TRUE, PRED, num_pred=3))
    np.testing.assert_allclose(iou[0], [[0.5, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0.5, 0]])


def test_area_of_a_slot_includes_background():
    # The slot holds its object and as many pixels of background.
    true, pred = row(0, 0, 0, 1, 1), row(0, 1, 1, 1, 1)
    assert metrics.mean_best_overlap(true, pred, **STATIC)[0] == 0.5


IGNORE_OBJECT = np.array([[[False, False, True, True]]])


@pytest.mark.parametrize(
    ("true", "pred", "options", "value"),
    [
        (row(0, 0), row(0, 1), {}, np.nan),  # no object
        (row(0, 0), row(0, 1), {"background": True}, 0.5),
        (row(1, 1), row(0, 1), {"ignore": np.ones((1, 1, 2), bool)}, np.nan),
        (row(0, 1), row(0, 1), {"ignore": np.ones((1, 1, 2), bool), "background": True}, np.nan),
        (row(1, 1), row(0, 0), {"background": True}, 1),  # background absent: no segment
        (row(0, 0, 1, 2), row(0, 1, 2, 3), {}, 1),  # spare slots cost nothing
        (row(1, 2), row(0, 0), {}, 0.5),  # a slot may serve twice
        (row(1, 1, 2, 2), row(0, 0, 1, 2), {"ignore": IGNORE_OBJECT}, 1),  # object 2 is not present
        (row(1, 1, 1, 2), row(0, 0, 0, 3), {"ignore": IGNORE_OBJECT}, 1),  # nor is slot 3
        (row(1, 1, 7, 7), row(0, 0, 1, 2), {}, 0.75),  # gaps in ids are no segments
        (row(0, 1), row(2, 5), {}, 1),  # a single pixel
        (row(0, 8), row(0, 1), {}, np.nan),  # out of range
    ],
)
def test_edge_cases(true, pred, options, value):
    np.testing.assert_array_equal(
        metrics.mean_best_overlap(true, pred, **STATIC, **options), [value]
    )


def test_background_only_images_have_no_objects():
    true, pred = row(0, 0), row(0, 1)
    assert np.isnan(metrics.object_recall(true, pred, **STATIC)[0])
    assert np.isnan(metrics.segmentation_covering(true, pred, weighted=True, **STATIC)[0])


@pytest.mark.parametrize(
    ("threshold", "strict", "value"),
    [(0.5, False, 1), (0.5, True, 0.5), (0.7, False, 0.5), (0.51, False, 0.5), (1.0, False, 0.5)],
)
def test_thresholds_are_exact(threshold, strict, value):
    # IoUs are 1 and 1/2.
    true, pred = row(1, 1, 2, 2), row(0, 0, 1, 2)
    got = metrics.object_recall(true, pred, threshold=threshold, strict=strict, **STATIC)
    assert got[0] == value


@pytest.mark.parametrize("tenths", [1, 3, 7])
def test_an_iou_equal_to_the_threshold_counts(tenths):
    true = row(*[1] * 10)
    pred = row(*range(1, 11 - tenths), *[0] * tenths)
    threshold = tenths / 10
    assert metrics.object_recall(true, pred, threshold=threshold)[0] == 1
    assert metrics.object_recall(true, pred, threshold=threshold, strict=True)[0] == 0


@pytest.mark.parametrize("threshold", [-0.1, 1.5, 0.12345])
def test_thresholds_are_hundredths(threshold):
    with pytest.raises(ValueError, match=f"got {threshold}; round it"):
        metrics.object_recall(TRUE, PRED, threshold=threshold)


@pytest.mark.parametrize("background", [False, True])
def test_equals_fractions(background):
    true, pred = random_maps(8, (20, 8, 8), 4, 4)
    true[0] = 0
    counts = metrics.contingency(true, pred)
    cells = [oracles.table(t, p) for t, p in zip(true, pred, strict=True)]
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    close(
        metrics.mean_best_overlap_from_counts(counts, background=background),
        [oracles.mbo(c, background) for c in cells],
    )
    close(
        metrics.segmentation_covering_from_counts(counts, weighted=True, background=background),
        [oracles.covering(c, background) for c in cells],
    )
    for threshold in (0.25, 0.5):
        close(
            metrics.object_recall_from_counts(counts, threshold=threshold, strict=background),
            [oracles.recall(c, threshold, strict=background) for c in cells],
        )


def test_the_largest_areas_do_not_overflow():
    counts = jnp.array([[[0, 0], [2**23, 2**23 - 1]]], jnp.int32)
    value = metrics.object_recall_from_counts(counts, threshold=0.5)
    assert value[0] == 1
    assert metrics.object_recall_from_counts(counts, threshold=0.99)[0] == 0
