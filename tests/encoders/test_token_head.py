import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import abstract, filled
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.encoders import TokenHead, TokenHeadConfig
from slots.nn import grid_positions

GRID, C = (2, 3), 4
PLACES = grid_positions(*GRID)


def make(**settings):
    config = TokenHeadConfig(**settings)
    return filled(lambda rngs: TokenHead(config, C, GRID, rngs=rngs))


def features(seed=0):
    return np.random.default_rng(seed).standard_normal((2, 6, C)).astype(np.float32)


def test_nothing_to_do_hands_features_on():
    x = features()
    tokens = make(position="none", hidden=0)(jnp.asarray(x), PLACES)
    assert_array_equal(tokens.features, x)
    assert tokens.grid == GRID
    assert tokens.mask is None
    assert_array_equal(tokens.positions, np.broadcast_to(PLACES, (2, 6, 2)))


def test_position_is_added_first():
    head = make(position="linear", hidden=0)
    x = features()
    wanted = x + np.asarray(head.position(PLACES))
    assert_allclose(head(jnp.asarray(x), PLACES).features, wanted, atol=1e-6)


@pytest.mark.parametrize("final_relu", [False, True])
@pytest.mark.parametrize("norm", ["channels", "all"])
def test_order_is_position_norm_mlp(norm, final_relu):
    head = make(norm=norm, hidden=5, features=3, final_relu=final_relu)
    assert head.feature_dim == 3
    x = features() + np.asarray(head.position(PLACES))
    flat = x if norm == "channels" else x.reshape(2, -1)
    spread = np.sqrt(flat.var(-1, keepdims=True) + 1e-3)
    flat = (flat - flat.mean(-1, keepdims=True)) / spread
    flat = flat * np.asarray(head.norm.scale[...]) + np.asarray(head.norm.bias[...])
    wanted = head.mlp(jnp.asarray(flat.reshape(x.shape), jnp.float32))
    got = head(jnp.asarray(features()), PLACES).features
    assert got.shape == (2, 6, 3)
    assert_allclose(got, wanted, atol=1e-5)
    assert (got.min() >= 0) == final_relu


def test_widths_follow_the_features():
    _, params = abstract(lambda rngs: TokenHead(TokenHeadConfig(), C, GRID, rngs=rngs))
    shapes = jax.tree.map(np.shape, params)
    assert shapes["mlp"]["first"]["kernel"] == shapes["mlp"]["second"]["kernel"] == (C, C)
    assert shapes["position"]["projection"]["kernel"] == (4, C)
    assert shapes["norm"]["scale"] == (C,)


def test_width_without_an_mlp():
    with pytest.raises(ConfigError, match="set hidden"):
        TokenHeadConfig(hidden=0, features=8)
