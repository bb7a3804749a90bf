import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.initializers import GaussianConfig, LearnedConfig
from slots.types import Tokens

K, S, D = 5, 4, 3


def make(config, slot_dim=S):
    return config.make(num_slots=K, slot_dim=slot_dim, feature_dim=D, rngs=nnx.Rngs(0))


def draw(initializer, keys):
    size = len(keys)
    tokens = Tokens(
        features=jnp.zeros((size, 2, D)), positions=jnp.zeros((size, 2, 2)), grid=(1, 2)
    )
    slots, variables = initializer(tokens, keys, initializer.init_variables(), train=True)
    assert variables == {}
    return slots.vectors


def keys(*numbers):
    return jax.vmap(jax.random.key)(jnp.array(numbers))


def test_gaussian_has_the_learned_mean_and_scale():
    initializer = make(GaussianConfig())
    initializer.mean[...] = jnp.array([[0.0, 1.0, -2.0, 3.0]])
    initializer.log_scale[...] = jnp.log(jnp.array([[0.1, 1.0, 2.0, 0.5]]))
    drawn = draw(initializer, keys(*range(2000))).reshape(-1, S)
    assert_allclose(drawn.mean(0), [0, 1, -2, 3], atol=0.08)
    assert_allclose(drawn.std(0), [0.1, 1, 2, 0.5], rtol=0.03)


def test_gaussian_draws_are_independent_per_example_and_slot():
    initializer = make(GaussianConfig())
    initializer.mean[...] = jnp.zeros((1, S))
    initializer.log_scale[...] = jnp.zeros((1, S))
    drawn = np.asarray(draw(initializer, keys(*range(2000)))).reshape(2000, K * S)
    covariance = np.cov(drawn, rowvar=False)
    assert_allclose(covariance, np.eye(K * S), atol=0.12)


def test_gaussian_draw_belongs_to_its_key():
    initializer = make(GaussianConfig())
    one, other = draw(initializer, keys(3, 8, 5)), draw(initializer, keys(5, 3))
    assert_array_equal(one[0], other[1])
    assert_array_equal(one[2], other[0])
    assert np.abs(one[0] - one[1]).max() > 0.1


def test_gaussian_first_values():
    initializer = make(GaussianConfig(), slot_dim=64)
    for param in (initializer.mean, initializer.log_scale):
        assert param.shape == (1, 64)
        assert 0.26 < np.abs(param[...]).max() <= (6 / 65) ** 0.5  # 0.3038
        assert param[...].min() < 0 < param[...].max()


def test_gaussian_of_its_own_for_each_slot():
    initializer = make(GaussianConfig(shared=False))
    assert initializer.mean.shape == initializer.log_scale.shape == (K, S)
    initializer.mean[...] = jnp.arange(20.0).reshape(K, S)
    initializer.log_scale[...] = jnp.full((K, S), -20.0)
    drawn = draw(initializer, keys(1, 2))
    assert_allclose(drawn, np.broadcast_to(np.arange(20.0).reshape(K, S), drawn.shape), atol=1e-6)


def test_learned_slots_are_the_same_for_every_picture():
    initializer = make(LearnedConfig())
    drawn = draw(initializer, keys(1, 2, 3))
    assert drawn.shape == (3, K, S)
    for example in drawn:
        assert_array_equal(example, initializer.vectors[...])


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_learned_first_values(scale):
    vectors = make(LearnedConfig(scale=scale), slot_dim=200).vectors[...]
    assert_allclose(vectors.std(), scale, rtol=0.1)
