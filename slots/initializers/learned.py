"""Slots that are parameters (queries), the same for every picture."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key
from typing_extensions import override

from slots.initializers.base import FirstSlots, Initializer, InitializerConfig, Variables
from slots.types import Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedConfig(InitializerConfig):
    """One learned vector per slot (Biza et al. 2023; Jia et al. 2023). K is fixed by training."""

    scale: float = 1.0
    """Standard deviation of the parameters' first values."""

    @override
    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, content_dim: int, rngs: nnx.Rngs
    ) -> "Learned":
        del feature_dim, content_dim  # does not look
        return Learned(self, num_slots, slot_dim, rngs=rngs)


class Learned(Initializer):
    """Hands out the same slots for every example. Parameters: `vectors` [K,S]."""

    def __init__(self, config: LearnedConfig, num_slots: int, slot_dim: int, *, rngs: nnx.Rngs):
        noise = jax.random.normal(rngs.params(), (num_slots, slot_dim))
        self.vectors = nnx.Param(config.scale * noise)

    @override
    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[FirstSlots, Variables]:
        vectors = self.vectors[...]
        slots = Slots(vectors=jnp.broadcast_to(vectors[None], (len(keys), *vectors.shape)))
        return FirstSlots(slots=slots), variables
