"""Gated recurrent unit with the candidate gate's own hidden bias."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from slots.nn.initial import Initializer, glorot


class GRUCell(nnx.Module):
    """GRU in the "reset after" form (Cho et al. 2014, arXiv 1406.1078; as in PyTorch and Linen).

    r = σ(W_r x + b_r + U_r h), z = σ(W_z x + b_z + U_z h),
    n = tanh(W_n x + b_n + r ⊙ (U_n h + c)), h' = (1 − z) ⊙ n + z ⊙ h.

    `nnx.GRUCell` lacks c. The three gates lie side by side in one kernel, order r, z, n.
    Parameters: `input_kernel` [I,3D], `input_bias` [3D], `hidden_kernel` [D,3D], `hidden_bias` [D].
    Input kernels are drawn over the joined kernel, Glorot-uniform as in Keras by default; recurrent
    ones are orthogonal.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        kernel_init: Initializer = glorot,
        rngs: nnx.Rngs,
    ):
        orthogonal = nnx.initializers.orthogonal()
        recurrent = [orthogonal(rngs.params(), (features, features)) for _ in range(3)]
        self.input_kernel = nnx.Param(kernel_init(rngs.params(), (in_features, 3 * features)))
        self.input_bias = nnx.Param(jnp.zeros(3 * features))
        self.hidden_kernel = nnx.Param(jnp.concatenate(recurrent, axis=1))
        self.hidden_bias = nnx.Param(jnp.zeros(features))

    def __call__(
        self, state: Float[Array, "*b d"], inputs: Float[Array, "*b i"]
    ) -> Float[Array, "*b d"]:
        """The next state."""
        bias = jnp.expand_dims(self.input_bias[...], range(inputs.ndim - 1))
        candidate_bias = jnp.expand_dims(self.hidden_bias[...], range(state.ndim - 1))
        from_input = inputs @ self.input_kernel[...] + bias
        from_state = state @ self.hidden_kernel[...]
        reset, update, new = jnp.split(from_input, 3, axis=-1)
        reset_h, update_h, new_h = jnp.split(from_state, 3, axis=-1)
        reset = jax.nn.sigmoid(reset + reset_h)
        update = jax.nn.sigmoid(update + update_h)
        new = jnp.tanh(new + reset * (new_h + candidate_bias))
        return (1 - update) * new + update * state
