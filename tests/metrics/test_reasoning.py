import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score, f1_score

from slots.metrics import accuracy, macro_f1, matched_huber_cost


def drawn(seed):
    """True and predicted classes; -1 stands for none."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, 20), rng.integers(-1, 7, 20)


def test_f1_by_hand():
    """Class 0: 1 hit of 2 true and 1 told; class 1: 1 of 1 and 2; 2 is never true."""
    true, pred = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 2])
    assert macro_f1(true, pred) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert_array_equal(accuracy(jnp.asarray(true), jnp.asarray(pred)), [1, 0, 1, 0])


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_is_sklearns(seed):
    true, pred = drawn(seed)
    want = f1_score(true, pred, labels=np.unique(true), average="macro", zero_division=0)
    assert macro_f1(true, pred) == pytest.approx(want)
    assert accuracy(jnp.asarray(true), jnp.asarray(pred)).mean() == pytest.approx(
        accuracy_score(true, pred)
    )


def test_f1_of_names_and_of_nothing():
    true, pred = drawn(0)
    names = np.random.default_rng(1).permutation(8)
    assert macro_f1(names[true], names[pred]) == pytest.approx(macro_f1(true, pred))
    assert macro_f1(true, true) == 1
    assert math.isnan(macro_f1(np.zeros(0, int), np.zeros(0, int)))


def sets(seed, slots=3, rows=3):
    rng = np.random.default_rng(seed)
    found = rng.uniform(0, 1, (4, slots, 5)).astype(np.float32)
    return found, np.eye(5, dtype=np.float32)[rng.integers(0, 5, (4, rows))]


def test_permuted_perfect_predictions_cost_nothing():
    _, target = sets(0)
    for order in itertools.permutations(range(3)):
        assert_allclose(matched_huber_cost(target[:, order], target), np.zeros(4), atol=1e-7)


def test_all_one_half():
    """Two slots, two numbers each: 2 · 0.5 · 0.25."""
    cost = matched_huber_cost(np.full((1, 2, 2), 0.5, np.float32), np.eye(2, dtype="f4")[None])
    assert_allclose(cost, [0.25])


def test_far_off_is_linear():
    cost = matched_huber_cost(np.full((1, 1, 1), 3, np.float32), np.zeros((1, 1, 1), np.float32))
    assert_allclose(cost, [2.5])


@pytest.mark.parametrize(("slots", "rows"), [(3, 3), (2, 4), (4, 2)])
def test_is_the_cheapest_assignment(slots, rows):
    found, target = sets(1, slots, rows)
    each = 0.5 * np.square(found[:, None] - target[:, :, None]).mean(-1)  # no difference above 1
    pairs = min(slots, rows)
    want = [
        min(
            sum(cost[r, s] for r, s in zip(chosen, order, strict=True))
            for chosen in itertools.combinations(range(rows), pairs)
            for order in itertools.permutations(range(slots), pairs)
        )
        for cost in each
    ]
    assert_allclose(matched_huber_cost(found, target), want, rtol=1e-5)


def test_what_is_not_finite_is_undefined_alone():
    found, target = sets(2)
    want = np.asarray(matched_huber_cost(found, target))
    found[1, 0, 0] = np.nan
    got = np.asarray(matched_huber_cost(found, target))
    assert_array_equal(np.isnan(got), [False, True, False, False])
    assert_allclose(got[[0, 2, 3]], want[[0, 2, 3]])
