"""The contract of an initializer: it makes the first slots."""

import dataclasses
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float, Key

from slots.config import Component
from slots.types import Slots, Tokens, noun

Variables = dict[str, Any]


@noun
class FirstSlots:
    """What an initializer returns."""

    slots: Slots
    losses: dict[str, Float[Array, "b"]] = dataclasses.field(default_factory=dict)
    """The initializer's own terms per example, by name."""
    diagnostics: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Whatever else is worth a look."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitializerConfig(Component):
    """Settings every initializer has: none."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, content_dim: int, rngs: nnx.Rngs
    ) -> "Initializer":
        """Builds the initializer for K slots of width S.

        Args:
            num_slots: K.
            slot_dim: S.
            feature_dim: width of the tokens, for those that look.
            content_dim: width of their content, without places.
            rngs: source of the initial parameters.
        """
        raise NotImplementedError


class Initializer(nnx.Module):
    """Makes the first slots."""

    @property
    def num_entries(self) -> int:
        """Of the dictionary that slots come from; 0 without one.

        With one, diagnostics hold `codes` [B,K]: the entry of each slot.
        """
        return 0

    def init_variables(self, key: Key[Array, ""]) -> Variables:
        """Fresh state that changes without gradients (dictionaries, averages); empty for most."""
        return {}

    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[FirstSlots, Variables]:
        """First slots [B,K,S], and the new variables.

        Args:
            tokens: what the encoder saw; most initializers only read the batch size from it.
            keys: one random key per example.
            variables: as `init_variables` made them.
            train: whether variables may move.
        """
        raise NotImplementedError
