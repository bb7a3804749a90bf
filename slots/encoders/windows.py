"""Overlapping windows and a perceptron: an encoder of nothing but matrix products."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.encoders.base import Encoder, EncoderConfig, TokenHead
from slots.nn import MLP, kernel_init, pixel_positions
from slots.types import Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowsConfig(EncoderConfig):
    """Each token is a two-layer perceptron of one square window of pixels.

    The fastest encoder on a CPU, where XLA's convolutions are slow; its receptive field is the
    window, so it suits objects of about that size.
    """

    window: int = 13
    """Side in pixels."""
    stride: int = 4
    """Pixels between neighbouring windows; the border is padded with zeros."""
    hidden: int = 128
    features: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window:
            raise ConfigError(
                f"stride={self.stride} must be between 1 and window={self.window}, "
                "so that every pixel is seen."
            )

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "Windows":
        return Windows(self, image_shape, rngs=rngs)


class Windows(Encoder):
    """Parameters: `mlp`, `head`."""

    def __init__(self, config: WindowsConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        height, width, channels = image_shape
        self.size = (height, width)
        self.window, self.stride = config.window, config.stride
        self.grid = (math.ceil(height / config.stride), math.ceil(width / config.stride))
        inputs = config.window**2 * channels
        law = kernel_init(config.kernel_init)
        self.mlp = MLP(inputs, config.hidden, config.features, kernel_init=law, rngs=rngs)
        self.head = TokenHead(config.head, config.features, self.grid, kernel_init=law, rngs=rngs)
        self.feature_dim = self.head.feature_dim

    @override
    def __call__(self, images: Float[Array, "b h w c"]) -> Tokens:
        padding, centers = [(0, 0)], []
        for side, count in zip(self.size, self.grid, strict=True):
            covered = (count - 1) * self.stride + self.window
            before = (covered - side) // 2
            padding.append((before, covered - side - before))
            first = (self.window - 1) / 2 - before
            centers.append(first + self.stride * jnp.arange(count, dtype=jnp.float32))
        x = jnp.pad(images, (*padding, (0, 0)))
        # Slices: XLA's own patch extraction is a convolution, and a gather takes five times as
        # long on a CPU.
        for axis, count in enumerate(self.grid, start=1):
            starts = range(0, count * self.stride, self.stride)
            windows = [
                jax.lax.slice_in_dim(x, i, i + self.window, axis=2 * axis - 1) for i in starts
            ]
            x = jnp.stack(windows, axis=axis)
        x = x.reshape(len(x), self.grid[0] * self.grid[1], -1)
        return self.head(self.mlp(x), pixel_positions(centers[0], centers[1], self.size))
