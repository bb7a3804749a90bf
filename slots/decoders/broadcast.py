"""Spatial broadcast decoder (Watters et al. 2019, arXiv 1901.07017)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.decoders.base import Decoder, DecoderConfig, Mixture
from slots.nn import (
    Conv,
    PositionEmbedding,
    PositionKind,
    conv_same,
    conv_transpose_same,
    grid_positions,
    kernel_init,
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
        law = kernel_init(config.kernel_init)
        self.position = PositionEmbedding(
            slot_dim, config.position, config.octaves, kernel_init=law, rngs=rngs
        )
        features, convs = slot_dim, []
        for out, stride in zip(config.channels, config.strides, strict=True):
            size = config.kernel_size
            convs.append(
                Conv(
                    features,
                    out,
                    size,
                    stride=stride,
                    transpose=stride > 1,
                    kernel_init=law,
                    rngs=rngs,
                )
            )
            features = out
        self.convs = nnx.List(convs)
        self.output = Conv(
            features, channels + 1, config.output_kernel_size, kernel_init=law, rngs=rngs
        )
        self.mixture = Mixture(channels, background=config.background)

    @override
    def __call__(self, slots: Slots) -> Reconstruction:
        positions = slot_positions(grid_positions(*self.grid), slots, self.scale_factor)
        x = jax.nn.relu(self._first(slots.vectors, positions))
        for conv in list(self.convs)[1:]:
            x = jax.nn.relu(conv(x))
        x = self.output(x)
        return self.mixture(x.reshape(*slots.vectors.shape[:2], *x.shape[1:]), slots)

    def _first(
        self, vectors: Float[Array, "b k s"], positions: Float[Array, "b1 k1 n 2"]
    ) -> Float[Array, "bk h w c"]:
        """The first layer of slots plus position codes; slots are part of the batch from here on.

        It is linear, so both go through it apart: a slot is the same at every place, and a code has
        two to a dozen channels before its projection, which joins the kernel. Where slots have no
        frames, places are moreover the same for all.
        """
        first, width = self.convs[0], vectors.shape[-1]
        if min(self.grid) < len(first.kernel[...]):
            x = vectors[:, :, None] + self.position(positions)
            return first(x.reshape(-1, *self.grid, width))
        same = vectors + jnp.expand_dims(self.position.bias, (0, 1))
        code, projection = self.position.code(positions), self.position.projection.kernel[...]
        kernel = jnp.einsum("hwio,pi->hwpo", first.kernel[...], projection)
        convolve = conv_transpose_same if first.transpose else conv_same
        places = convolve(code.reshape(-1, *self.grid, code.shape[-1]), kernel, first.stride)
        return first.constant(same.reshape(-1, width), self.grid) + places
