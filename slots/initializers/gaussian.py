"""Slots drawn from a learned Gaussian (Locatello et al. 2020, Algorithm 1)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key
from typing_extensions import override

from slots.initializers.base import Initializer, InitializerConfig, Variables
from slots.types import Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianConfig(InitializerConfig):
    """slots = μ + exp(log σ) ⊙ ε, fresh per example and slot, also at test time."""

    shared: bool = True
    """One μ and σ for all slots, which makes them exchangeable and lets K change at test time;
    else one per slot."""

    @override
    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, rngs: nnx.Rngs
    ) -> "Gaussian":
        del feature_dim  # does not look
        return Gaussian(self, num_slots, slot_dim, rngs=rngs)


class Gaussian(Initializer):
    """Draws slots; the gradient reaches μ and log σ by reparameterisation.

    Parameters: `mean`, `log_scale`, both [1,S] (shared) or [K,S], uniform in ±sqrt(6 / (1 + S)),
    which is Glorot's rule on Keras' [1,1,S] and gives σ between 0.74 and 1.36 for S = 64.
    """

    def __init__(self, config: GaussianConfig, num_slots: int, slot_dim: int, *, rngs: nnx.Rngs):
        limit = (6 / (1 + slot_dim)) ** 0.5
        shape = (1 if config.shared else num_slots, slot_dim)

        def uniform() -> nnx.Param:
            return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit))

        self.num_slots = num_slots
        self.mean, self.log_scale = uniform(), uniform()

    @override
    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[Slots, Variables]:
        mean, log_scale = self.mean[...][None], self.log_scale[...][None]
        shape = (self.num_slots, mean.shape[-1])
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        return Slots(vectors=mean + jnp.exp(log_scale) * noise.astype(mean.dtype)), variables
