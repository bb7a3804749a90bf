"""Attention among tokens."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from slots.nn.initial import Initializer, glorot
from slots.nn.precision import precise

_OFF = -1e9
"""Logit of a token that does not exist; finite, so that a row without any stays finite."""


class SelfAttention(nnx.Module):
    """Multi-head scaled dot-product attention of tokens to each other (Vaswani et al. 2017).

    Parameters: `query`, `key`, `value` (without bias), `output`.
    """

    def __init__(
        self, features: int, heads: int, *, kernel_init: Initializer = glorot, rngs: nnx.Rngs
    ):
        if features % heads:
            raise ValueError(f"{heads} heads do not divide a width of {features}.")

        def linear(*, use_bias: bool = False) -> nnx.Linear:
            return nnx.Linear(
                features, features, use_bias=use_bias, kernel_init=kernel_init, rngs=rngs
            )

        self.heads = heads
        self.query, self.key, self.value = linear(), linear(), linear()
        self.output = linear(use_bias=True)

    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b n d"]:
        """What each token reads; `mask` is False where a token does not exist."""

        def split(x: Float[Array, "b n d"]) -> Float[Array, "b n h e"]:
            return x.reshape(*x.shape[:-1], self.heads, -1)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        q = q * q.shape[-1] ** -0.5
        logits = jnp.einsum("bnhe,bmhe->bhnm", q, k, preferred_element_type=precise(q))
        if mask is not None:
            logits = jnp.where(mask[:, None, None], logits, _OFF)
        weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
        return self.output(jnp.einsum("bhnm,bmhe->bnhe", weights, v).reshape(x.shape))


def dropout(
    x: Float[Array, "b *rest"], keys: Key[Array, "b"], rate: float
) -> Float[Array, "b *rest"]:
    """Zeros with probability `rate`, the rest enlarged to keep the mean; one key per example."""
    if rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)
