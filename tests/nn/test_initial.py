"""Laws of first kernels, by what they are bounded by and how they spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots.nn import kernel_init

# Of a 3×3 convolution from 8 to 24 channels: 72 inputs and 216 outputs of a kernel.
VARIANCE = {"glorot": 2 / (72 + 216), "lecun": 1 / 72, "uniform": 1 / (3 * 72)}


@pytest.mark.parametrize("name", VARIANCE)
def test_spread(name):
    draw = jax.vmap(lambda key: kernel_init(name)(key, (3, 3, 8, 24), jnp.float32))
    kernels = np.asarray(draw(jax.random.split(jax.random.key(0), 60)))
    assert kernels.var() == pytest.approx(VARIANCE[name], rel=0.02)
    assert abs(kernels.mean()) < 3 * np.sqrt(VARIANCE[name] / kernels.size)
    if name == "uniform":  # PyTorch's ±1/√inputs
        assert abs(kernels).max() == pytest.approx(1 / np.sqrt(72), rel=1e-3)
