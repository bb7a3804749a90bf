import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from slots.config import ConfigError
from slots.objectives import ComponentErrorConfig, ReconstructionConfig

from .test_reconstruction import prediction, values

B, M, H, W, C = 3, 3, 2, 2, 3
RNG = np.random.default_rng(0)
PARTS = RNG.standard_normal((B, M, H, W, C)).astype(np.float32)
MASKS = RNG.dirichlet(np.ones(M), (B, H, W)).astype(np.float32).transpose(0, 3, 1, 2)
WANTED = RNG.standard_normal((B, H, W, C)).astype(np.float32)


def drawing(parts, masks, wanted):
    """A prediction of these parts, mixed by these masks."""
    mixed = (np.asarray(masks)[..., None] * parts).sum(1)
    found = prediction(mixed, wanted)
    drawn = dataclasses.replace(
        found.reconstruction, masks=jnp.asarray(masks), parts=jnp.asarray(parts), alphas=None
    )
    return dataclasses.replace(found, reconstruction=drawn)


def term(*args):
    return values(ComponentErrorConfig(), drawing(*args))


def test_worked_example():
    # One place, target 0.2: a component that draws it alone, and a bright one at a fifth over
    # black, mix to the same picture; the second costs 0.2·0.8² + 0.8·0.2² = 0.16.
    parts = np.zeros((2, 2, 1, 1, 3), np.float32)
    parts[0, 0], parts[1, 0] = 0.2, 1.0
    masks = np.array([[1.0, 0.0], [0.2, 0.8]], np.float32).reshape(2, 2, 1, 1)
    found = drawing(parts, masks, np.full((2, 1, 1, 3), 0.2, np.float32))
    assert_allclose(values(ReconstructionConfig(), found), [0, 0], atol=1e-14)
    assert_allclose(values(ComponentErrorConfig(), found), [0, 0.16], atol=1e-7)


def test_is_the_mixtures_error_and_the_variance_of_the_parts():
    found = drawing(PARTS, MASKS, WANTED)
    mixed = found.reconstruction.output[:, None]
    variance = (MASKS * ((PARTS - mixed) ** 2).mean(-1)).sum(1).mean((1, 2))
    expected = values(ReconstructionConfig(), found) + variance
    assert_allclose(values(ComponentErrorConfig(), found), expected, rtol=1e-5)


def test_is_the_mixture_likelihood_of_wide_noise():
    error, wide = ((PARTS - WANTED[:, None]).astype(np.float64) ** 2).mean(-1), 1e4
    likelihood = -2 * wide * np.log((MASKS * np.exp(-error / (2 * wide))).sum(1))
    assert_allclose(term(PARTS, MASKS, WANTED), likelihood.mean((1, 2)), rtol=1e-3)


def test_one_component_costs_what_the_mixture_costs():
    masks = np.zeros_like(MASKS)
    masks[:, 1] = 1
    found = drawing(PARTS, masks, WANTED)
    alone = values(ReconstructionConfig(), found)
    assert_allclose(values(ComponentErrorConfig(), found), alone, rtol=1e-6)


def test_the_order_of_components_does_not_matter():
    order = [2, 0, 1]
    permuted = term(PARTS[:, order], MASKS[:, order], WANTED)
    assert_allclose(permuted, term(PARTS, MASKS, WANTED), rtol=1e-6)


def test_examples_do_not_mix():
    alone = term(PARTS[1:2], MASKS[1:2], WANTED[1:2])
    assert_allclose(alone[0], term(PARTS, MASKS, WANTED)[1], rtol=1e-6)


def test_half_precision_is_squared_in_float32():
    parts = np.full((1, 1, 1, 1, 3), 1.0, jnp.bfloat16)
    found = drawing(parts.astype(np.float32), np.ones((1, 1, 1, 1), np.float32), WANTED[:1, :1, :1])
    drawn = dataclasses.replace(found.reconstruction, parts=jnp.asarray(parts))
    target = jnp.full((1, 1, 1, 3), 1.0 + 2**-7, jnp.bfloat16)  # one unit in the last place
    got = values(
        ComponentErrorConfig(), dataclasses.replace(found, reconstruction=drawn, target=target)
    )
    assert got.dtype == jnp.float32
    assert_allclose(got, [2.0**-14], rtol=1e-6)


@pytest.mark.parametrize("missing", ["reconstruction", "target", "parts"])
def test_needs_parts(missing):
    found = drawing(PARTS, MASKS, WANTED)
    if missing == "parts":
        drawn = dataclasses.replace(found.reconstruction, parts=None)
        found = dataclasses.replace(found, reconstruction=drawn)
    else:
        found = dataclasses.replace(found, **{missing: None})
    with pytest.raises(ConfigError, match="parts"):
        values(ComponentErrorConfig(), found)
