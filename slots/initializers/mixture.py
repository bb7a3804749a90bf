"""First components of a mixture: means and spreads drawn together (Kirilenko et al., ICLR 2024)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key
from typing_extensions import override

from slots.initializers.base import FirstSlots, Initializer, InitializerConfig, Variables
from slots.types import Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig(InitializerConfig):
    """[mean | log scale] = μ + exp(log σ) ⊙ ε, fresh per example and slot, also at test time.

    One learned μ and σ for all slots. A slot module that has no use for spreads leaves them alone.
    """

    @override
    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, content_dim: int, rngs: nnx.Rngs
    ) -> "Mixture":
        del feature_dim, content_dim  # does not look
        return Mixture(num_slots, slot_dim, rngs=rngs)


class Mixture(Initializer):
    """Parameters: `mean` from N(0, 1) and `log_scale` from ±√(6 / 4S), both [2S]."""

    def __init__(self, num_slots: int, slot_dim: int, *, rngs: nnx.Rngs):
        limit = (6 / (4 * slot_dim)) ** 0.5
        shape = (2 * slot_dim,)
        self.shape = (num_slots, 2 * slot_dim)
        self.mean = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.log_scale = nnx.Param(
            jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit)
        )

    @override
    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[FirstSlots, Variables]:
        noise = jax.vmap(lambda key: jax.random.normal(key, self.shape))(keys)
        scale = jnp.exp(self.log_scale[...])[None, None]
        drawn = self.mean[...][None, None] + scale * noise.astype(tokens.features.dtype)
        mean, log_scale = jnp.split(drawn, 2, axis=-1)
        return FirstSlots(slots=Slots(vectors=mean, extras={"log_scale": log_scale})), variables
