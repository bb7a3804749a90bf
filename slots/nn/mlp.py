"""Two-layer perceptron."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from slots.nn.initial import Initializer, glorot


class MLP(nnx.Module):
    """Linear, ReLU, linear; kernels by `kernel_init` (Glorot-uniform), zero biases.

    Parameters: `first`, `second`. With `final_relu` a second ReLU follows; without `final_bias` the
    second layer has none.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        *,
        final_relu: bool = False,
        final_bias: bool = True,
        kernel_init: Initializer = glorot,
        rngs: nnx.Rngs,
    ):
        self.first = nnx.Linear(in_features, hidden_features, kernel_init=kernel_init, rngs=rngs)
        self.second = nnx.Linear(
            hidden_features, out_features, use_bias=final_bias, kernel_init=kernel_init, rngs=rngs
        )
        self.final_relu = final_relu

    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Applies both layers to the last axis."""
        x = self.second(jax.nn.relu(self.first(x)))
        return jax.nn.relu(x) if self.final_relu else x
