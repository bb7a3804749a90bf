import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from slots.config import ConfigError
from slots.nn.assignment import match, pair_costs
from slots.objectives import SetMatchingConfig

from .test_reconstruction import prediction as drawing
from .test_reconstruction import values


def prediction(found, target):
    """A prediction of properties; everything else is zeros."""
    whole = drawing(np.zeros((1, 1, 1, 3), np.float32), np.zeros((1, 1, 1, 3), np.float32))
    return dataclasses.replace(
        whole,
        target=None if target is None else jnp.asarray(target),
        outputs={} if found is None else {"properties": jnp.asarray(found)},
    )


def loss(found, target, **settings):
    return values(SetMatchingConfig(**settings), prediction(found, target))


FOUND = np.array([[[0.9, 0.2], [0.1, 0.6]]], np.float32)
TARGET = np.array([[[0, 1], [1, 0]]], np.float32)


def test_two_by_two():
    want = [[[0.3625, 0.0425], [0.0125, 0.2925]]]
    assert_allclose(pair_costs(jnp.asarray(FOUND), jnp.asarray(TARGET)), want, rtol=1e-5)
    assert_allclose(loss(FOUND, TARGET), [0.0550], rtol=1e-5)


def test_one_coordinate_off():
    target = np.zeros((1, 10, 19), np.float32)
    found = target.copy()
    found[0, 0, 0] = 0.3
    assert_allclose(loss(found, target), [0.5 * 0.09 / 19], rtol=1e-5)


def test_far_off_is_linear():
    assert_allclose(loss(np.float32([[[3.0]]]), np.float32([[[0.0]]])), [2.5])


def random_sets(seed, rows=4, slots=4):
    rng = np.random.default_rng(seed)
    return (rng.uniform(0, 1, (3, n, 5)).astype(np.float32) for n in (slots, rows))


@pytest.mark.parametrize(("rows", "slots"), [(4, 4), (3, 5), (5, 3)])
def test_is_the_cheapest_assignment(rows, slots):
    found, target = random_sets(0, rows, slots)
    cost = np.asarray(pair_costs(jnp.asarray(found), jnp.asarray(target)))
    pairs = min(rows, slots)
    want = [
        min(
            sum(c[r, s] for r, s in zip(rs, ss, strict=True))
            for rs in itertools.combinations(range(rows), pairs)
            for ss in itertools.permutations(range(slots), pairs)
        )
        for c in cost
    ]
    assert_allclose(loss(found, target), want, rtol=1e-5)


def test_order_means_nothing():
    found, target = random_sets(1)
    order = np.array([2, 0, 3, 1])
    want = loss(found, target)
    assert_allclose(loss(found[:, order], target), want, rtol=1e-6)
    assert_allclose(loss(found, target[:, order]), want, rtol=1e-6)
    assert_allclose(loss(target[:, order], target), np.zeros(3), atol=1e-7)


def test_gradient_is_that_of_the_matched_pairs():
    found, target = random_sets(2)

    def total(found):
        return loss(found, target).sum()

    got = jax.jit(jax.grad(total))(jnp.asarray(found))
    rows, columns = match(pair_costs(jnp.asarray(found), jnp.asarray(target)))
    want = np.zeros_like(found)
    for b in range(3):
        for r, c in zip(np.asarray(rows[b]), np.asarray(columns[b]), strict=True):
            want[b, c] = (found[b, c] - target[b, r]) / 5
    assert_allclose(got, want, atol=1e-6)


def test_padded_rows_have_a_floor_with_shared_softmaxes():
    """Even classes, nothing present, coordinates in the middle of [-1, 1]."""
    even = np.concatenate([np.zeros(3), *(np.full(n, 1 / n) for n in (2, 2, 3, 8)), [0]])
    found = loss(np.float32([[even]]), np.zeros((1, 1, 19), np.float32))
    assert_allclose(found, [0.0383772], rtol=1e-5)


def test_cross_entropy():
    found = np.array([[[0.8, 0.3]]], np.float32)
    target = np.array([[[1, 0]]], np.float32)
    want = -(np.log(0.8) + np.log(0.7)) / 2
    assert_allclose(loss(found, target, difference="cross_entropy"), [want], rtol=1e-5)
    sure = loss(1 - target, target, difference="cross_entropy")
    assert_allclose(sure, [100])


@pytest.mark.parametrize("share", [0.0, 1e-39, 1.0], ids=["none", "subnormal", "all"])
def test_cross_entropy_of_a_certainty_has_a_finite_gradient(share):
    target = jnp.array([[[1.0, 0.0]]])
    gradient = jax.grad(lambda p: pair_costs(p, target, "cross_entropy").sum())
    assert np.isfinite(gradient(jnp.full((1, 1, 2), share))).all()


def test_what_is_not_finite_is_not_matched_to_nonsense():
    rows, columns = match(jnp.full((1, 3, 3), jnp.nan))
    assert sorted(np.asarray(columns[0])) == sorted(np.asarray(rows[0])) == [0, 1, 2]


def test_what_it_needs():
    with pytest.raises(ConfigError, match="predicts properties"):
        loss(None, TARGET)
    with pytest.raises(ConfigError, match="data with properties"):
        loss(FOUND, None)
