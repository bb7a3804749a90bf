"""Layers that every entry of a dictionary has for itself."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from slots.nn.initial import Initializer


class EntryNetworks(nnx.Module):
    """Two layers of its own, a ReLU after each, for every one of M entries.

    Parameters: `first_kernel` [M,I,H], `second_kernel` [M,H,O], `first_bias` [M,H], `second_bias`
    [M,O].
    """

    def __init__(
        self,
        size: int,
        in_features: int,
        hidden_features: int,
        out_features: int,
        *,
        kernel_init: Initializer,
        bias_init: Initializer,
        rngs: nnx.Rngs,
    ):
        def param(law: Initializer, *shape: int) -> nnx.Param[Array]:
            return nnx.Param(law(rngs.params(), (size, *shape), jnp.float32))

        self.first_kernel = param(kernel_init, in_features, hidden_features)
        self.second_kernel = param(kernel_init, hidden_features, out_features)
        self.first_bias = param(bias_init, hidden_features)
        self.second_bias = param(bias_init, out_features)

    def __call__(self, x: Float[Array, "b k i"], codes: Int[Array, "b k"]) -> Float[Array, "b k o"]:
        """Each slot through the network of its code."""
        for kernel, bias in (
            (self.first_kernel, self.first_bias),
            (self.second_kernel, self.second_bias),
        ):
            x = jax.nn.relu(jnp.einsum("bki,bkio->bko", x, kernel[...][codes]) + bias[...][codes])
        return x
