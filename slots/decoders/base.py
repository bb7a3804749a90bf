"""The contract of a decoder, and the mixture every pixel decoder ends in."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from slots.config import Component
from slots.nn import KernelInit
from slots.types import Reconstruction, Slots

_OFF = -1e9
"""Mask logit of an inactive slot; finite, so that a picture without active slots stays finite."""

_BACKGROUND = -2.0
"""Mask logit that a background starts with, below the slots' 0: they divide the whole picture first
and leave the ground to it later. One that explains black ground from the start leaves the slots
equal (docs/results/slot_attention.md)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig(Component):
    """Settings every decoder has."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    background: bool = False
    """Adds one component to the mixture that is no slot: a learned colour and a learned mask
    logit, the same everywhere. It is the last of the masks and counts as a label."""

    kernel_init: KernelInit = "glorot"
    """Law of the first kernels: `glorot` as in Keras (2020), `lecun` as in Flax (later code)."""

    def make(
        self,
        *,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
        rngs: nnx.Rngs,
    ) -> "Decoder":
        """Builds the decoder.

        Args:
            slot_dim: width S of the slots.
            image_shape: (H, W, C) of what it draws.
            scale_factor: what relative coordinates are divided by where slots have frames.
            rngs: source of the initial parameters.

        Raises:
            ConfigError: the settings do not tile `image_shape`.
        """
        raise NotImplementedError


class Decoder(nnx.Module):
    """Slots to pixels, features or token logits; accepts every `Slots`."""

    def __call__(self, slots: Slots) -> Reconstruction:
        """Draws the slots; masks sum to 1 and inactive slots get none."""
        raise NotImplementedError


class Mixture(nnx.Module):
    """Σ_k softmax_k(alpha) ⊙ part_k, with an optional constant background component.

    Parameters: with a background `color` [C], zero at first, and `logit` [1].
    """

    def __init__(self, channels: int, *, background: bool):
        self.color = nnx.Param(jnp.zeros(channels)) if background else None
        self.logit = nnx.Param(jnp.full(1, _BACKGROUND)) if background else None

    def __call__(
        self,
        drawn: Float[Array, "b k *places c1"],
        slots: Slots,
        arrange: Callable[[Array], Array] = lambda x: x,
    ) -> Reconstruction:
        """Mixes what the slots drew.

        Args:
            drawn: per slot C channels and, last, the mask logit, at places of any layout.
            slots: for which of them take part.
            arrange: brings [..., *places, c] to [..., H, W, c]. It is applied after mixing, so
                that training, which needs the output alone, moves 1/K of the numbers.

        Returns:
            Output [B,H,W,C] and parts in the dtype of `drawn`, masks in float32.
        """
        parts, logits = drawn[..., :-1], drawn[..., -1].astype(jnp.float32)
        if slots.active is not None:
            active = jnp.expand_dims(slots.active, range(2, logits.ndim))
            logits = jnp.where(active, logits, _OFF)
        if self.logit is not None:
            logit = self.logit[...].astype(jnp.float32)[0]
            logits = jnp.concatenate([logits, jnp.full_like(logits[:, :1], logit)], axis=1)
        masks = jax.nn.softmax(logits, axis=1)[..., None]
        weights = masks.astype(parts.dtype)
        output = (weights[:, : parts.shape[1]] * parts).sum(axis=1)
        if self.color is not None:
            color = jnp.expand_dims(self.color[...], range(parts.ndim - 1))
            output = output + weights[:, -1] * color[:, 0]
            parts = jnp.concatenate([parts, jnp.broadcast_to(color, parts[:, :1].shape)], axis=1)
        return Reconstruction(
            output=arrange(output),
            masks=arrange(masks)[..., 0],
            parts=arrange(parts),
            alphas=arrange(logits[..., None])[..., 0],
        )
