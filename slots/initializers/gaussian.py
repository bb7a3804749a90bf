"""Slots drawn from a learned Gaussian (Locatello et al. 2020, Algorithm 1)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key
from typing_extensions import override

from slots.initializers.base import FirstSlots, Initializer, InitializerConfig, Variables
from slots.types import Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianConfig(InitializerConfig):
    """slots = μ + exp(log σ) ⊙ ε, fresh per example and slot, also at test time."""

    shared: bool = True
    """One μ and σ for all slots, which makes them exchangeable and lets K change at test time;
    else one per slot."""
    learned: bool = True
    """Off: μ = 0 and σ = 1 for ever, no parameters."""

    @override
    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, content_dim: int, rngs: nnx.Rngs
    ) -> "Gaussian":
        del feature_dim, content_dim  # does not look
        return Gaussian(self, num_slots, slot_dim, rngs=rngs)


class Gaussian(Initializer):
    """Draws slots; the gradient reaches μ and log σ by reparameterisation.

    Parameters: `mean`, `log_scale`, both [1,S] (shared) or [K,S], uniform in ±sqrt(6 / (1 + S)),
    which is Glorot's rule on Keras' [1,1,S] and gives σ between 0.74 and 1.36 for S = 64. None
    where not learned.
    """

    def __init__(self, config: GaussianConfig, num_slots: int, slot_dim: int, *, rngs: nnx.Rngs):
        limit = (6 / (1 + slot_dim)) ** 0.5
        shape = (1 if config.shared else num_slots, slot_dim)

        def uniform() -> nnx.Param:
            return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit))

        self.shape = (num_slots, slot_dim)
        self.mean = uniform() if config.learned else None
        self.log_scale = uniform() if config.learned else None

    @override
    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[FirstSlots, Variables]:
        vectors = jax.vmap(lambda key: jax.random.normal(key, self.shape))(keys)
        vectors = vectors.astype(tokens.features.dtype)
        if self.mean is not None and self.log_scale is not None:
            vectors = self.mean[...][None] + jnp.exp(self.log_scale[...][None]) * vectors
        return FirstSlots(slots=Slots(vectors=vectors)), variables
