import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.nn import MLP


@pytest.mark.parametrize("final_relu", [False, True])
def test_equals_the_formula(final_relu):
    mlp = filled(lambda rngs: MLP(3, 5, 4, final_relu=final_relu, rngs=rngs))
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    first, second = (
        (np.asarray(layer.kernel[...]), np.asarray(layer.bias[...]))
        for layer in (mlp.first, mlp.second)
    )
    wanted = np.maximum(x @ first[0] + first[1], 0) @ second[0] + second[1]
    assert wanted.min() < 0
    if final_relu:
        wanted = np.maximum(wanted, 0)
    assert_allclose(mlp(jnp.asarray(x)), wanted, atol=1e-6)


def test_first_values():
    mlp = MLP(3, 50, 4, rngs=nnx.Rngs(0))
    limit = (6 / 53) ** 0.5
    assert 0.9 * limit < np.abs(mlp.first.kernel[...]).max() <= limit
    assert_array_equal(mlp.first.bias[...], np.zeros(50))
    assert_array_equal(mlp.second.bias[...], np.zeros(4))
