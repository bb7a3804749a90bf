"""The contract of a slot module: tokens and first slots in, refined slots and attention out."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from slots.config import Component, ConfigError
from slots.types import Grouping, Slots, Tokens

_OFF = -1e9
"""Logit of what must not be chosen; finite, so that all-off rows stay finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotModuleConfig(Component):
    """Settings every slot module has."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    num_iterations: int = 3
    """Rounds of attention and update while training."""
    eval_iterations: int | None = None
    """Rounds outside training; None: as in training."""

    def __post_init__(self) -> None:
        for name in ("num_iterations", "eval_iterations"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name}={value} must be 0 or more.")

    def iterations(self, train: bool) -> int:
        """Rounds to run."""
        if train or self.eval_iterations is None:
            return self.num_iterations
        return self.eval_iterations

    def make(
        self, *, feature_dim: int, slot_dim: int, scale_factor: float, rngs: nnx.Rngs
    ) -> "SlotModule":
        """Builds the module.

        Args:
            feature_dim: width D of the tokens.
            slot_dim: width S of the slots.
            scale_factor: what relative coordinates are divided by, for modules with frames; the
                model hands the same number to the decoder.
            rngs: source of the initial parameters.
        """
        raise NotImplementedError


class SlotModule(nnx.Module):
    """Refines slots from tokens. It does not know images, meshes, experiments or files."""

    def complete(self, slots: Slots) -> Slots:
        """Fills in what this module carries, so that the structure never changes in a scan."""
        return slots

    def __call__(
        self, tokens: Tokens, slots: Slots, keys: Key[Array, "b"], *, train: bool
    ) -> Grouping:
        """One pass of all iterations.

        Args:
            tokens: what the encoder saw.
            slots: first slots, completed.
            keys: one random key per example, so that a draw does not depend on the batch around it.
            train: whether gradients will be taken.
        """
        raise NotImplementedError


def compete(
    logits: Float[Array, "b *h k n"], active: Bool[Array, "b k"] | None
) -> Float[Array, "b *h k n"]:
    """Attention: the softmax in which slots compete for each token; inactive ones get none."""
    if active is not None:
        logits = jnp.where(jnp.expand_dims(active, (*range(1, logits.ndim - 2), -1)), logits, _OFF)
    return jax.nn.softmax(logits, axis=-2)
