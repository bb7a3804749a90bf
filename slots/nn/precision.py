"""In which precision statistics, coordinates and logits are computed."""

import jax.numpy as jnp
from jaxtyping import Array


def precise(x: Array) -> type[jnp.float32] | type[jnp.float64]:
    """float32 at least: sums and softmaxes want it under bfloat16; float64 stays float64."""
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32
