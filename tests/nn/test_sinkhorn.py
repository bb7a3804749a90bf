import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import quick_jit
from numpy.testing import assert_allclose

from slots.nn.sinkhorn import entropy, exact_plan, minimize_entropy, sinkhorn


def plan_of(cost, slots, tokens, **options):
    """The plan of one problem, written tokens by slots as in the publication."""
    arrays = [jnp.asarray(x, jnp.float32)[None] for x in (np.transpose(cost), slots, tokens)]
    return np.asarray(sinkhorn(*arrays, **options)[0][0]).T


def problem(seed, batch=2, slots=4, tokens=9, spread=3.0):
    rng = np.random.default_rng(seed)
    cost = spread * np.abs(rng.standard_normal((batch, slots, tokens)))
    masses = [np.exp(rng.standard_normal((batch, n))) for n in (slots, tokens)]
    masses = [slots * m / m.sum(1, keepdims=True) for m in masses]
    return tuple(jnp.asarray(x, jnp.float32) for x in (cost, *masses))


def test_three_tokens():
    cost = [[0, 1], [1, 0], [0.5, 0.5]]
    want = [[0.487372, 0.179294], [0.179294, 0.487372], [1 / 3, 1 / 3]]
    for sweeps in (1, 7):
        got = plan_of(cost, [1, 1], [2 / 3] * 3, sweeps=sweeps)
        assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("sweeps", "corner", "row"),
    [
        (1, 1.289707, 1.406664),
        (2, 1.081809, 1.138858),
        (5, 0.961308, 1.002106),
        (100, 0.959407, 1.0),
    ],
)
def test_unequal_slots(sweeps, corner, row):
    plan = plan_of([[0, 1], [2, 0]], [1.5, 0.5], [1, 1], sweeps=sweeps)
    assert_allclose([plan[0, 0], plan[0].sum()], [corner, row], atol=2e-6)
    assert_allclose(plan.sum(0), [1.5, 0.5], atol=1e-6)


def test_temperature():
    problem = ([[0, 1], [2, 0]], [1.5, 0.5], [1, 1])
    hot = plan_of(*problem, sweeps=100, temperature=100.0)
    assert_allclose(hot, [[0.7528, 0.2472], [0.7472, 0.2528]], atol=1e-4)
    cold = plan_of(*problem, sweeps=1000, temperature=0.1)
    assert_allclose(cold, [[1, 0], [0.5, 0.5]], atol=1e-3)


def test_one_sweep_is_slot_attention():
    cost, _, _ = problem(0)
    ones = jnp.ones((2, 4)), jnp.ones((2, 9))
    attention = jax.nn.softmax(-cost, axis=1)
    want = attention / attention.sum(-1, keepdims=True)
    assert_allclose(sinkhorn(cost, *ones, sweeps=1)[0], want, rtol=1e-5)


def test_what_is_added_to_rows_and_columns_changes_nothing():
    cost, slots, tokens = problem(1)
    moved = cost + slots[..., None] - 2 * tokens[:, None]
    plans = [sinkhorn(c, slots, tokens, sweeps=100)[0] for c in (cost, moved)]
    assert_allclose(*plans, atol=1e-5)


def test_rows_get_nearer_with_every_sweep():
    cost, slots, tokens = problem(2, batch=8)
    errors = [
        np.abs(sinkhorn(cost, slots, tokens, sweeps=n)[0].sum(1) - tokens).sum(1)
        for n in (1, 2, 4, 8, 16)
    ]
    for before, after in itertools.pairwise(errors):
        assert (after <= before + 1e-5).all()


def test_a_warm_start_goes_on():
    cost, slots, tokens = problem(3)
    _, _, v = sinkhorn(cost, slots, tokens, sweeps=3)
    found = sinkhorn(cost, slots, tokens, sweeps=2, start=v)
    for got, want in zip(found, sinkhorn(cost, slots, tokens, sweeps=5), strict=True):
        assert_allclose(got, want, atol=1e-5)


def unrolled(cost, slots, tokens, *, sweeps, temperature, start):
    """The same sweeps, for JAX to differentiate."""
    scores = -cost / temperature
    v = start
    for _ in range(sweeps):
        u = jnp.log(tokens) - jax.nn.logsumexp(scores + v[..., None], axis=1)
        v = jnp.log(slots) - jax.nn.logsumexp(scores + u[:, None], axis=2)
    return jnp.exp(scores + u[:, None] + v[..., None]), u, v


@pytest.mark.parametrize("sweeps", [1, 5, 12])
def test_gradient_is_that_of_the_sweeps(sweeps):
    with jax.enable_x64(True):
        rng = np.random.default_rng(sweeps)
        given = [np.float64(x) for x in problem(4)]
        given = [*given, np.float64(0.7), rng.standard_normal((2, 4))]
        weights = [rng.standard_normal(s) for s in ((2, 4, 9), (2, 9), (2, 4))]

        def loss(function, cost, slots, tokens, temperature, start):
            found = function(
                cost, slots, tokens, sweeps=sweeps, temperature=temperature, start=start
            )
            return sum(jnp.vdot(w, x) for w, x in zip(weights, found, strict=True))

        ours, plain = (
            quick_jit(jax.grad(lambda *a, f=f: loss(f, *a), argnums=(0, 1, 2, 3, 4)))(*given)
            for f in (sinkhorn, unrolled)
        )
        for got, want in zip(ours, plain, strict=True):
            assert_allclose(got, want, atol=1e-11)


def test_memory_does_not_grow_with_sweeps():
    """But for a potential per slot and sweep: a four-hundredth of a plan, here."""

    def temporary(sweeps):
        def loss(cost, slots, tokens):
            return jnp.square(sinkhorn(cost, slots, tokens, sweeps=sweeps)[0]).sum()

        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, 5, 400), (4, 5), (4, 400))]
        compiled = jax.jit(jax.grad(loss)).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary(20), temporary(200)
    assert many - few <= 2 * 180 * 4 * 5 * 4


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("least", [0.0, 1e-38, 1e-12])
def test_finite_where_it_is_hard(temperature, least):
    cost, slots, tokens = problem(5)
    slots, tokens = slots.at[:, 1].set(least), tokens.at[:, 2].set(least)

    def loss(cost, slots, tokens):
        plan, _, _ = sinkhorn(cost, slots, tokens, sweeps=20, temperature=temperature)
        return jnp.square(plan).sum(), plan

    (_, plan), gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(
        cost, slots, tokens
    )
    assert all(np.isfinite(x).all() for x in (plan, *gradients))
    assert_allclose(plan.sum(2), slots, rtol=1e-4, atol=1e-12)


def test_one_slot_gets_all():
    cost, _, tokens = problem(6, slots=1)
    total = tokens.sum(1, keepdims=True)
    assert_allclose(sinkhorn(cost, total, tokens, sweeps=1)[0][:, 0], tokens, rtol=1e-5)


def test_exact():
    cost, slots, tokens = problem(7, batch=3)
    plan = exact_plan(cost, slots, tokens)
    assert_allclose(plan.sum(2), slots, rtol=1e-4)
    assert_allclose(plan.sum(1), tokens, rtol=1e-4)
    assert ((plan > 1e-6).sum((1, 2)) <= 4 + 9 - 1).all()
    soft = sinkhorn(cost, slots, tokens, sweeps=2000, temperature=0.02)[0]
    spent, least = (cost * soft).sum((1, 2)), (cost * plan).sum((1, 2))
    assert (least <= spent + 1e-3).all()
    assert_allclose(least, spent, rtol=0.02)
    arrays = [jnp.asarray(x, jnp.float32)[None] for x in ([[0, 2], [1, 0]], [1.5, 0.5], [1, 1])]
    assert_allclose(jax.jit(exact_plan)(*arrays)[0].T, [[1, 0], [0.5, 0.5]], atol=1e-6)


TIE = jnp.asarray([[[0.0, 0, 1, 1]] * 2])
NOISE = jnp.asarray([[[1, -0.5, 0.3, -1], [-1, 0.5, -0.3, 1]]])
MASSES = (jnp.ones((1, 2)), jnp.full((1, 4), 0.5))


@functools.partial(quick_jit, static_argnames="steps")
def mesh(cost, masses=MASSES, rate=8.0, steps=4):
    """The moved costs, and their plan."""
    moved, v = minimize_entropy(cost, *masses, steps=steps, learning_rate=rate, sweeps=5)
    return moved, sinkhorn(moved, *masses, sweeps=5, start=v)[0]


def test_ties_are_broken():
    start = TIE + 1e-3 * NOISE
    for steps, want in enumerate([0.346574, 0.198705, 0.173838, 0.173307]):
        assert_allclose(entropy(mesh(start, steps=steps)[1]), [want], atol=2e-6)
    _, plan = mesh(start)
    assert_allclose(plan[0].T, [[0, 0.5], [0.5, 0], [0, 0.5], [0.5, 0]], atol=1e-4)


def test_without_noise_ties_stay():
    cost, plan = mesh(TIE)
    assert np.abs(cost - TIE).max() < 1e-6
    assert_allclose(plan, np.full((1, 2, 4), 0.25))


def test_the_larger_cost_yields():
    with jax.enable_x64(True):
        noise, masses = np.array([[[1e-3, 0], [0, 0]]]), (np.ones((1, 2)), np.ones((1, 2)))
        cost, plan = mesh(noise, masses)
        assert_allclose(plan[0], [[0, 1], [1, 0]], atol=1e-4)
        assert_allclose(cost[0], [[16.001, -16], [-16, 16]], atol=2e-3)
        _, plan = mesh(noise, masses, rate=1.0)
        assert_allclose(plan[0], [[0.0180, 0.9820], [0.9820, 0.0180]], atol=1e-4)


def test_a_step_is_as_long_as_it_should_be():
    cost, *masses = problem(8)
    for rate in (1.0, 8.0):
        costs = [mesh(cost, tuple(masses), rate=rate, steps=steps)[0] for steps in range(4)]
        for before, after in itertools.pairwise(costs):
            assert_allclose(np.sqrt(np.square(after - before).sum((1, 2))), [rate] * 2, rtol=1e-4)


def test_plans_get_sharper():
    cost, _, _ = problem(9, batch=40, slots=6, tokens=32)
    masses = (jnp.ones((40, 6)), jnp.full((40, 32), 6 / 32))
    plain = entropy(mesh(cost, masses, steps=0)[1])
    assert_allclose(plain.mean(), 0.0932, atol=0.004)
    for rate, want in ((1.0, 0.0858), (8.0, 0.0547)):
        sharp = entropy(mesh(cost, masses, rate=rate)[1])
        assert (sharp < plain).all()
        assert_allclose(sharp.mean(), want, atol=0.004)
