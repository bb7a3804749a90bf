"""The contract of a slot module: tokens and first slots in, refined slots and attention out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from slots.config import Component, ConfigError
from slots.types import Grouping, Slots, Tokens

_T = TypeVar("_T")

EpsilonOn = Literal["entries", "sum"]
"""Where the number goes that keeps a mean over tokens finite."""

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

    @property
    def trains_first_slots(self) -> bool:
        """Whether a loss on what comes out reaches the slots that go in."""
        return getattr(self, "gradient", "full") not in ("last", "each")

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

    @property
    def frame_dim(self) -> int:
        """Numbers of a slot's frame, for those who read it beside the vector; 0 without frames."""
        return 0

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


def token_weights(
    attention: Float[Array, "b *h k n"],
    mask: Bool[Array, "b n"] | None,
    epsilon: float,
    epsilon_on: EpsilonOn = "sum",
) -> Float[Array, "b *h k n"]:
    """Attention renormalised over the tokens that exist."""
    on_entries = epsilon_on == "entries"
    weights = attention + epsilon if on_entries else attention
    if mask is not None:
        weights = jnp.where(jnp.expand_dims(mask, range(1, weights.ndim - 1)), weights, 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    # With every token masked the total is zero; otherwise it is epsilon or more.
    total = jnp.maximum(total, epsilon) if on_entries else total + epsilon
    return weights / total


def cut(state: _T, first: _T | None) -> _T:
    """The state without its gradient, or with the first state's in its place (bilevel)."""
    state = jax.lax.stop_gradient(state)
    if first is None:
        return state
    return jax.tree.map(lambda x, y: x + (y - jax.lax.stop_gradient(y)), state, first)


def per_iteration(
    attentions: Sequence[Float[Array, "b k n"]], tokens: Tokens, slots: Slots
) -> Float[Array, "b r k n"]:
    """Attention of all rounds; without any, nobody has claimed anything yet."""
    if not attentions:
        size, count = slots.vectors.shape[:2]
        attentions = [jnp.full((size, count, tokens.features.shape[1]), 1.0 / count)]
    return jnp.stack(attentions, axis=1)


def check_scales(low: float, high: float) -> None:
    """Raises ConfigError where scales clipped to `low` and `high` could be 0, or none could be."""
    if not 0 < low <= high:
        raise ConfigError(f"module.min_scale={low} must be above 0 and at most max_scale={high}.")
