import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.nn import GRUCell

INPUTS, WIDTH = 3, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates(array):
    """The three gates that lie side by side: r, z, n."""
    return np.split(np.asarray(array, np.float64), 3, axis=-1)


def test_equals_the_formula_gate_by_gate():
    cell = filled(lambda rngs: GRUCell(INPUTS, WIDTH, rngs=rngs))
    rng = np.random.default_rng(1)
    x, h = rng.standard_normal((2, 5, INPUTS)), rng.standard_normal((2, 5, WIDTH))
    (w_r, w_z, w_n), (b_r, b_z, b_n) = gates(cell.input_kernel[...]), gates(cell.input_bias[...])
    u_r, u_z, u_n = gates(cell.hidden_kernel[...])
    reset = sigmoid(x @ w_r + b_r + h @ u_r)
    update = sigmoid(x @ w_z + b_z + h @ u_z)
    new = np.tanh(x @ w_n + b_n + reset * (h @ u_n + np.asarray(cell.hidden_bias[...])))
    wanted = (1 - update) * new + update * h
    got = quick_jit(lambda cell, h, x: cell(h, x))(cell, jnp.float32(h), jnp.float32(x))
    assert_allclose(got, wanted, atol=1e-6)


def test_worked_example():
    cell = filled(lambda rngs: GRUCell(1, 1, rngs=rngs))
    cell.input_kernel[...] = jnp.array([[0.0, 0.0, 1.0]])
    cell.input_bias[...] = jnp.array([np.log(3.0), -np.log(3.0), 0.0])  # r = 3/4, z = 1/4
    cell.hidden_kernel[...] = jnp.array([[0.0, 0.0, 2.0]])
    cell.hidden_bias[...] = jnp.array([4.0])
    # n = tanh(0.5 + 3/4 · (2 · 1 + 4)), h' = 3/4 · n + 1/4 · 1
    got = cell(jnp.array([1.0]), jnp.array([0.5]))
    assert_allclose(got, [0.75 * np.tanh(5.0) + 0.25], rtol=1e-6)


def test_update_gate_keeps_the_state():
    cell = filled(lambda rngs: GRUCell(INPUTS, WIDTH, rngs=rngs))
    cell.input_bias[...] = jnp.concatenate([jnp.zeros(4), jnp.full(4, 1e3), jnp.zeros(4)])
    state = jnp.ones((2, WIDTH))
    assert_array_equal(cell(state, jnp.ones((2, INPUTS))), state)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_leading_axes(leading):
    cell = filled(lambda rngs: GRUCell(INPUTS, WIDTH, rngs=rngs))
    out = cell(jnp.ones((*leading, WIDTH)), jnp.ones((*leading, INPUTS)))
    assert out.shape == (*leading, WIDTH)
    one = cell(jnp.ones((1, WIDTH)), jnp.ones((1, INPUTS)))[0]
    assert_allclose(out, np.broadcast_to(one, out.shape), atol=1e-6)


def test_first_values():
    cell = GRUCell(INPUTS, WIDTH, rngs=nnx.Rngs(0))
    for gate in gates(cell.hidden_kernel[...]):
        assert_allclose(gate @ gate.T, np.eye(WIDTH), atol=1e-6)
    limit = (6 / (INPUTS + 3 * WIDTH)) ** 0.5  # Glorot's rule on the joined kernel, as in Keras
    assert 0.8 * limit < np.abs(cell.input_kernel[...]).max() <= limit
    assert_array_equal(cell.input_bias[...], np.zeros(3 * WIDTH))
    assert_array_equal(cell.hidden_bias[...], np.zeros(WIDTH))
