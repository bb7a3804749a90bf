import jax.numpy as jnp
import numpy as np
import pytest

from slots import metrics

from . import oracles
from .examples import PRED, TRUE, random_maps, row


def test_hand_example():
    # Object boxes of 2×2 against slot boxes of 2×4.
    assert metrics.corloc(TRUE, PRED)[0] == 1
    assert metrics.corloc(TRUE, PRED, strict=True)[0] == 0
    assert metrics.corloc(TRUE, PRED, by="mask")[0] == 1
    assert metrics.corloc(TRUE, PRED, by="mask", strict=True)[0] == 0


RING = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]])
IGNORE_LAST = np.array([[[False, False, False, True]]])


@pytest.mark.parametrize(
    ("true", "pred", "options", "value"),
    [
        (row(0, 0), row(0, 1), {}, np.nan),  # no object
        (row(0, 0), row(0, 1), {"by": "mask"}, np.nan),
        (row(1, 1), row(0, 1), {"ignore": np.ones((1, 1, 2), bool)}, np.nan),
        (row(0, 1), row(0, 3), {"strict": True}, 1),  # a single pixel has area 1
        (RING, np.where(RING == 1, 4, 0) * np.eye(3, dtype=int), {}, 1),  # corners: box of all
        (row(1, 0, 0, 1), row(2, 3, 3, 2), {}, 1),  # parts are not separated
        (row(1, 0, 0, 1), row(2, 2, 2, 3), {}, 1),  # box 4 against 3
        (row(1, 0, 0, 1), row(2, 3, 4, 5), {"ignore": IGNORE_LAST}, 1),  # ignored before the box
        (row(0, 0, 0, 0, 1), row(2, 2, 2, 2, 2), {}, 0),
        (row(0, 9), row(0, 1), {"num_true": 4, "num_pred": 2}, np.nan),  # out of range
        (row(0, 1), row(0, 9), {"num_true": 4, "num_pred": 2, "by": "mask"}, np.nan),
    ],
)
def test_edge_cases(true, pred, options, value):
    got = metrics.corloc(true, pred, **options)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, [value])


@pytest.mark.parametrize("shape", [(24, 9, 11), (24, 3, 5, 6)])
def test_equals_boxes_drawn_by_hand(shape):
    rng = np.random.default_rng(12)
    static = {"num_true": 4, "num_pred": 8}
    true = rng.integers(0, 3, shape) * (rng.random(shape) < 0.05)
    pred = rng.integers(0, 5, shape) * (rng.random(shape) < 0.05)
    ignore = rng.random(shape) < 0.3
    for strict in (False, True):
        expected = [
            oracles.corloc(t, p, i, strict) for t, p, i in zip(true, pred, ignore, strict=True)
        ]
        got = metrics.corloc(true, pred, ignore=ignore, strict=strict, **static)
        np.testing.assert_array_equal(got, expected)
        assert 0 < np.nansum(expected) < len(expected)


def test_masks_decide_by_recall():
    true, pred = random_maps(13, (20, 8, 8), 4, 4)
    recall = np.asarray(metrics.object_recall(true, pred))
    np.testing.assert_array_equal(metrics.corloc(true, pred, by="mask"), recall > 0)


@pytest.mark.parametrize(("true", "pred"), [(2**13, 2**13), (0, 2**21), (2**21, 0)])
def test_tables_that_memory_does_not_hold_are_refused(true, pred):
    pictures = (np.full((1, 2, 2), label, np.int32) for label in (true, pred))
    with pytest.raises(ValueError, match="compact_labels"):
        metrics.corloc(*pictures)


def test_unknown_kinds_are_refused():
    with pytest.raises(Exception, match="by"):
        metrics.corloc(TRUE, PRED, by="centre")
