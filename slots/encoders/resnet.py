"""ResNet-18 and ResNet-34 with group norm for small pictures (Biza et al. 2023, appendix)."""

import dataclasses
import math
from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.encoders.base import Encoder, EncoderConfig, TokenHead
from slots.nn import Conv, grid_positions, kernel_init
from slots.types import Tokens

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig(EncoderConfig):
    """He et al. 2016 (arXiv 1512.03385) with group norm (Wu & He 2018) and a 3×3 root of stride 1.

    No ReLU and no pooling after the root, as in SAVi's and ISA's released code.
    """

    depth: Literal[18, 34] = 34
    strides: tuple[int, ...] = (1, 2, 2, 2)
    """Of the first block of each of the four stages."""
    width_multiplier: float = 1.0
    """Scales the stage widths 64, 128, 256, 512; below 1 for small machines."""
    num_groups: int = 32
    group_norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if len(self.strides) != 4:
            raise ConfigError(f"strides={self.strides} must name four stages.")
        for width in self.widths:
            if width % self.num_groups:
                raise ConfigError(
                    f"num_groups={self.num_groups} does not divide a stage of width {width}."
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(int(width * self.width_multiplier) for width in _WIDTHS)

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "ResNet":
        return ResNet(self, image_shape, rngs=rngs)


class _Block(nnx.Module):
    """Two 3×3 convolutions and a shortcut; the last norm's scale starts at 0."""

    def __init__(self, config: ResNetConfig, inputs: int, width: int, stride: int, rngs: nnx.Rngs):
        def norm(scale: jax.nn.initializers.Initializer) -> nnx.GroupNorm:
            return nnx.GroupNorm(
                width,
                num_groups=config.num_groups,
                epsilon=config.group_norm_epsilon,
                scale_init=scale,
                rngs=rngs,
            )

        def conv(features: int, size: int, stride: int = 1) -> Conv:
            law = kernel_init(config.kernel_init)
            return Conv(
                features, width, size, stride=stride, use_bias=False, kernel_init=law, rngs=rngs
            )

        ones, zeros = nnx.initializers.ones, nnx.initializers.zeros
        self.conv1 = conv(inputs, 3, stride)
        self.norm1 = norm(ones)
        self.conv2 = conv(width, 3)
        self.norm2 = norm(zeros)
        changes = stride != 1 or inputs != width
        self.shortcut = conv(inputs, 1, stride) if changes else None
        self.shortcut_norm = norm(ones) if changes else None

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        y = self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x)))))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return jax.nn.relu(x + y)


class ResNet(Encoder):
    """Parameters: `root`, `root_norm`, `blocks`, `head`."""

    def __init__(self, config: ResNetConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        height, width, inputs = image_shape
        law, features = kernel_init(config.kernel_init), config.widths[0]
        self.root = Conv(inputs, features, 3, use_bias=False, kernel_init=law, rngs=rngs)
        self.root_norm = nnx.GroupNorm(
            features, num_groups=config.num_groups, epsilon=config.group_norm_epsilon, rngs=rngs
        )
        blocks = []
        stages = zip(_BLOCKS[config.depth], config.widths, config.strides, strict=True)
        for count, channels, first_stride in stages:
            for i in range(count):
                stride = first_stride if i == 0 else 1
                blocks.append(_Block(config, features, channels, stride, rngs))
                height, width = math.ceil(height / stride), math.ceil(width / stride)
                features = channels
        self.blocks = nnx.List(blocks)
        self.grid = (height, width)
        self.head = TokenHead(config.head, features, self.grid, kernel_init=law, rngs=rngs)
        self.feature_dim = self.head.feature_dim

    @override
    def __call__(self, images: Float[Array, "b h w c"]) -> Tokens:
        x = self.root_norm(self.root(images))
        for block in self.blocks:
            x = block(x)
        return self.head(x.reshape(len(x), -1, x.shape[-1]), grid_positions(*self.grid))
