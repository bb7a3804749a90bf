import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from slots import metrics

from . import oracles
from .examples import CLASSES, CLIP_PRED, CLIP_TRUE, PRED, TRUE, random_maps, row

# Static numbers of labels, so that most tests share compiled functions.
STATIC = {"num_true": 8, "num_pred": 8}


def test_hand_examples():
    mean_iou = functools.partial(metrics.mean_iou, **STATIC)
    assert mean_iou(TRUE, PRED)[0] == pytest.approx(1 / 3)
    assert mean_iou(TRUE, PRED, background=True)[0] == 0.25
    assert mean_iou(TRUE, PRED, background=True, denominator="either")[0] == 0.25
    assert mean_iou(CLASSES, PRED)[0] == pytest.approx(5 / 12)
    assert mean_iou(CLIP_TRUE, CLIP_PRED)[0] == pytest.approx(1 / 3)


EITHER = {"background": True, "denominator": "either"}


@pytest.mark.parametrize(
    ("true", "pred", "options", "value"),
    [
        (row(0, 0), row(0, 1), {}, np.nan),  # no object
        (row(0, 0), row(0, 1), {"background": True}, 0.5),
        (row(0, 0), row(0, 1), EITHER, 0.25),  # one pair, one false segment
        (row(0, 0, 1, 2), row(0, 1, 2, 3), {}, 1),  # spare slots cost nothing
        (row(0, 0, 1, 2), row(0, 1, 2, 3), EITHER, 0.625),  # but here one does
        (row(1, 2), row(0, 0), {}, 0.25),  # an object without a slot counts 0
        (row(1, 1, 7, 7), row(0, 0, 1, 1), {}, 1),  # gaps in ids are no segments
        (row(0, 8), row(0, 1), {}, np.nan),  # out of range
        # The background may take slot 0 (IoU 1/2), or slot 1 (1/3) and leave slot 0 to an object
        # (1/6). Both sum to 1/2; the second leaves one false segment less.
        (row(0, 0, 0, 0, 0, 0, 1, 2), row(0, 0, 0, 0, 1, 1, 0, 0), EITHER, 1 / 6),
    ],
)
def test_edge_cases(true, pred, options, value):
    np.testing.assert_allclose(
        metrics.mean_iou(true, pred, **STATIC, **options), [value], rtol=1e-6
    )


@pytest.mark.parametrize("options", [{}, {"background": True}, EITHER])
def test_equals_every_assignment_tried(options):
    # Fewer and more slots than objects, then few pixels and many ties.
    maps = [random_maps(9, (6, 8, 8), 4, 3), random_maps(10, (6, 8, 8), 4, 6)]
    maps.append(np.random.default_rng(12).integers(0, 3, (2, 200, 1, 8)))
    counts = jnp.concatenate([metrics.contingency(*pair, **STATIC) for pair in maps])
    cells = [oracles.table(t, p) for pair in maps for t, p in zip(*pair, strict=True)]
    np.testing.assert_allclose(
        metrics.mean_iou_from_counts(counts, **options),
        [oracles.miou(c, **options) for c in cells],
        atol=2e-5 if options == EITHER else 1e-6,
    )


@pytest.mark.slow
def test_large_tables_equal_scipy():
    rng = np.random.default_rng(10)
    counts = rng.integers(0, 50, (6, 17, 24)) * (rng.random((6, 17, 24)) < 0.3)
    iou = np.asarray(metrics.iou_from_counts(jnp.asarray(counts, jnp.int32)), np.float64)[:, 1:]
    sums = [one[linear_sum_assignment(-one)].sum() for one in iou]
    present = (counts.sum(-1)[:, 1:] > 0).sum(-1)
    value = metrics.mean_iou_from_counts(jnp.asarray(counts, jnp.int32))
    np.testing.assert_allclose(value, sums / present, rtol=1e-6)


def test_matched_slots_attain_the_largest_sum():
    true, pred = random_maps(11, (12, 8, 8), 7, 5)
    counts = metrics.contingency(true, pred)
    slots = np.asarray(metrics.match_slots(true, pred))
    assert slots.shape == (12, 7)
    iou = np.asarray(metrics.iou_from_counts(counts))[:, 1:]
    for one, slot in zip(iou, slots, strict=True):
        matched = slot >= 0
        assert len(set(slot[matched])) == matched.sum()
        total = one[matched, slot[matched]].sum()
        assert total == pytest.approx(one[linear_sum_assignment(-one)].sum(), abs=1e-6)
        assert (one[matched, slot[matched]] > 0).all()


@pytest.mark.parametrize(
    ("true", "pred", "slots"),
    [
        (row(0, 1, 1, 3), row(0, 2, 2, 1), [2, -1, 1]),  # label 2 is absent
        (row(0, 0), row(0, 1), []),  # no objects, no columns
        (row(1, 1), row(3, 1), [1]),  # equal halves: the lowest slot
        (row(1, 1, 2, 2), row(0, 1, 0, 1), [0, 1, -1]),  # all equal
        (row(1, 2, 2), row(0, 0, 0), [-1, 0, -1]),  # no slot left for object 1
    ],
)
def test_match_slots(true, pred, slots):
    got = metrics.match_slots(true, pred, num_true=len(slots) + 1, num_pred=4)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, [slots])


def test_tables_that_were_not_counted_match_nothing():
    slots = metrics.match_slots(row(0, 1, 5), row(0, 1, 1), num_true=3, num_pred=2)
    np.testing.assert_array_equal(slots, [[-1, -1]])


def test_denominator_either_needs_the_background():
    with pytest.raises(ValueError, match="got background=False; pass background=True"):
        metrics.mean_iou(TRUE, PRED, denominator="either")


def test_unknown_denominators_are_refused():
    with pytest.raises(Exception, match="denominator"):
        metrics.mean_iou(TRUE, PRED, denominator="matched")
