"""Spatial broadcast decoder (Watters et al. 2019, arXiv 1901.07017)."""

import dataclasses
import math

import jax
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.decoders.base import Decoder, DecoderConfig, Mixture
from slots.nn import (
    Conv,
    PositionEmbedding,
    PositionKind,
    conv_same_constant,
    grid_positions,
    slot_positions,
)
from slots.types import Reconstruction, Slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class BroadcastConfig(DecoderConfig):
    """Each slot is copied to a grid, given positions, and drawn by (transposed) convolutions.

    The grid's size follows from the picture and the strides. The defaults are those of
    Locatello et al. 2020 for CLEVR; one stride of 1 per layer gives their decoder at full size.
    """

    channels: tuple[int, ...] = (64, 64, 64, 64, 64)
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)
    """Where above 1 the layer is a transposed convolution."""
    kernel_size: int = 5
    output_kernel_size: int = 3
    """Of the last, linear convolution to C colours and a mask logit; SAVi and ISA have 1."""
    position: PositionKind = "linear"
    octaves: int = 3
    """Of the `fourier` code."""

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ConfigError(
                f"channels={self.channels} and strides={self.strides} must be equally long."
            )

    @override
    def make(
        self,
        *,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
        rngs: nnx.Rngs,
    ) -> "Broadcast":
        return Broadcast(self, slot_dim, image_shape, scale_factor, rngs=rngs)


class Broadcast(Decoder):
    """Parameters: `position`, `convs`, `output`, `mixture`."""

    def __init__(
        self,
        config: BroadcastConfig,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
        *,
        rngs: nnx.Rngs,
    ):
        height, width, channels = image_shape
        total = math.prod(config.strides)
        if height % total or width % total:
            raise ConfigError(
                f"decoder.strides={config.strides} do not tile a picture of {height}×{width}; "
                f"both sides must be multiples of {total}."
            )
        self.grid = (height // total, width // total)
        self.scale_factor = scale_factor
        self.position = PositionEmbedding(slot_dim, config.position, config.octaves, rngs=rngs)
        features, convs = slot_dim, []
        for out, stride in zip(config.channels, config.strides, strict=True):
            size = config.kernel_size
            convs.append(Conv(features, out, size, stride=stride, transpose=stride > 1, rngs=rngs))
            features = out
        self.convs = nnx.List(convs)
        self.split = config.strides[:1] == (1,) and min(self.grid) >= config.kernel_size
        self.output = Conv(features, channels + 1, config.output_kernel_size, rngs=rngs)
        self.mixture = Mixture(channels, background=config.background)

    @override
    def __call__(self, slots: Slots) -> Reconstruction:
        positions = slot_positions(grid_positions(*self.grid), slots, self.scale_factor)
        x = jax.nn.relu(self._first(slots.vectors, self.position(positions)))
        for conv in list(self.convs)[1:]:
            x = jax.nn.relu(conv(x))
        x = self.output(x)
        return self.mixture(x.reshape(*slots.vectors.shape[:2], *x.shape[1:]), slots)

    def _first(
        self, vectors: Float[Array, "b k s"], code: Float[Array, "b1 k1 n s"]
    ) -> Float[Array, "bk h w c"]:
        first, width = self.convs[0], vectors.shape[-1]
        # Slots are drawn alone, so they are part of the batch from here on.
        if code.shape[:2] != (1, 1) or not self.split:
            return first((vectors[:, :, None] + code).reshape(-1, *self.grid, width))
        # The first layer is linear, so slot and position go through it apart: positions once for
        # all slots, and a slot, the same at every place, at the few places that the border makes.
        slots = conv_same_constant(vectors.reshape(-1, width), first.kernel[...], self.grid)
        return slots + first(code.reshape(1, *self.grid, width))
