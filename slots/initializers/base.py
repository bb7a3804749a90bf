"""The contract of an initializer: it makes the first slots."""

import dataclasses
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Key

from slots.config import Component
from slots.types import Slots, Tokens

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitializerConfig(Component):
    """Settings every initializer has: none."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, rngs: nnx.Rngs
    ) -> "Initializer":
        """Builds the initializer for K slots of width S, from tokens of width D if it looks."""
        raise NotImplementedError


class Initializer(nnx.Module):
    """Makes the first slots."""

    def init_variables(self) -> Variables:
        """State that changes without gradients (dictionaries, averages); empty for most."""
        return {}

    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[Slots, Variables]:
        """First slots [B,K,S] and the new variables.

        Args:
            tokens: what the encoder saw; most initializers only read the batch size from it.
            keys: one random key per example.
            variables: as `init_variables` made them.
            train: whether variables may move.
        """
        raise NotImplementedError
