"""Reading codes without making them equals making them and reading."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose

from slots.nn import GridEncoder

B, N, K, D, H = 2, 7, 3, 5, 6


def make(dtype=np.float32, seed=0, **settings):
    def build(rngs):
        return GridEncoder(D, H, epsilon=1e-6, rngs=rngs, **settings)

    return filled(build, seed, dtype)


def problem(dtype=np.float32, reach=1.0, seed=0):
    """Features, places seen by each slot, queries and weights."""
    rng = np.random.default_rng(seed)
    shapes = (B, N, D), (B, K, N, 2), (B, K, D), (B, K, N)
    features, places, queries, weights = (rng.standard_normal(s).astype(dtype) for s in shapes)
    return tuple(map(jnp.asarray, (features, reach * places, queries, weights)))


def plain(encoder, features, places, queries, weights):
    """The published formulation: a code for every slot and token."""
    codes = encoder(features[:, None], places)
    scores = jnp.einsum("bkd,bknd->bkn", queries, codes)
    return scores, jnp.einsum("bkn,bknd->bkd", weights, codes)


def fast(encoder, features, places, queries, weights):
    coded = encoder.prepare(features)
    return encoder.scores(coded, places, queries), encoder.averages(coded, places, weights)


def with_gradients(function, encoder, arguments, cotangents):
    """Results, and gradients to every weight and argument."""
    graphdef, params = nnx.split(encoder, nnx.Param)

    def loss(params, *arguments):
        found = function(nnx.merge(graphdef, params), *arguments)
        return sum(jnp.vdot(f, c) for f, c in zip(found, cotangents, strict=True)), found

    compute = quick_jit(jax.value_and_grad(loss, argnums=tuple(range(5)), has_aux=True))
    (_, found), gradients = compute(params, *arguments)
    return jax.tree.leaves((found, gradients))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("reach", [0.0, 1.0, 400.0])  # scales at the clip reach 400
def test_equals_the_plain_formulation(reach, use_bias):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        encoder = make(np.float64, use_bias=use_bias)
        arguments = problem(np.float64, reach)
        cotangents = arguments[3], arguments[2]
        wanted = with_gradients(plain, encoder, arguments, cotangents)
        got = with_gradients(fast, encoder, arguments, cotangents)
        for one, other in zip(got, wanted, strict=True):
            assert_allclose(one, other, atol=1e-9 * max(1, np.abs(other).max()))


@pytest.mark.parametrize("reach", [1.0, 400.0])
def test_in_single_precision(reach):
    encoder = make()
    arguments = problem(reach=reach)
    one, other = (quick_jit(form)(encoder, *arguments) for form in (fast, plain))
    for got, wanted in zip(one, other, strict=True):
        assert_allclose(got, wanted, atol=1e-5)


def test_the_gradient_can_be_differentiated_again():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        encoder, (features, places, queries, weights) = make(np.float64), problem(np.float64)

        def slope(function, places):
            def total(places):
                found = function(encoder, features, places, queries, weights)
                return sum(jnp.sum(jnp.sin(f)) for f in found)

            return jnp.square(jax.grad(total)(places)).sum()

        compute = quick_jit(jax.grad(slope, argnums=1), static_argnums=0)
        got, wanted = compute(fast, places), compute(plain, places)
        assert_allclose(got, wanted, atol=1e-9 * np.abs(wanted).max())


def test_half_precision_keeps_scores_in_single():
    encoder = make(jnp.bfloat16)
    features, places, queries, weights = problem()
    half = features.astype(jnp.bfloat16), places, queries.astype(jnp.bfloat16), weights
    with jax.numpy_dtype_promotion("standard"):
        scores, averages = quick_jit(fast)(encoder, *half)
        wanted, _ = quick_jit(plain)(make(), features, places, queries, weights)
    assert scores.dtype == jnp.float32
    assert averages.dtype == jnp.bfloat16
    assert np.abs(scores - wanted).max() < 0.1 * np.abs(wanted).max()


def test_no_array_of_all_slots_and_hidden_units_is_made():
    """What is kept between the passes does not grow with slots times tokens times width."""
    encoder, arguments = make(), problem()

    def loss(encoder, *arguments):
        return sum(f.sum() for f in fast(encoder, *arguments))

    jaxpr = jax.make_jaxpr(jax.grad(loss, argnums=(1, 2, 3, 4)))(encoder, *arguments)
    sizes = [v.aval.size for e in jaxpr.jaxpr.eqns for v in e.outvars]
    assert max(sizes) < B * K * N * H
