"""Plain convolutional encoder of the Slot Attention, SAVi and ISA papers."""

import dataclasses
import math

import jax
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.encoders.base import Encoder, EncoderConfig, TokenHead
from slots.nn import Conv, grid_positions, kernel_init
from slots.types import Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class CNNConfig(EncoderConfig):
    """Square SAME convolutions with ReLU; the defaults are the paper's for CLEVR."""

    channels: tuple[int, ...] = (64, 64, 64, 64)
    kernel_size: int = 5
    strides: tuple[int, ...] = (1, 1, 1, 1)
    final_relu: bool = True
    """ReLU after the last convolution too (2020); ISA's last one is linear."""

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ConfigError(
                f"channels={self.channels} and strides={self.strides} must be equally long."
            )

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "CNN":
        return CNN(self, image_shape, rngs=rngs)


class CNN(Encoder):
    """Parameters: `convs`, `head`."""

    def __init__(self, config: CNNConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        height, width, features = image_shape
        law, convs = kernel_init(config.kernel_init), []
        for channels, stride in zip(config.channels, config.strides, strict=True):
            convs.append(
                Conv(
                    features,
                    channels,
                    config.kernel_size,
                    stride=stride,
                    kernel_init=law,
                    rngs=rngs,
                )
            )
            height, width = math.ceil(height / stride), math.ceil(width / stride)
            features = channels
        self.convs = nnx.List(convs)
        self.final_relu = config.final_relu
        self.grid = (height, width)
        self.head = TokenHead(config.head, features, self.grid, kernel_init=law, rngs=rngs)
        self.feature_dim = self.head.feature_dim

    @override
    def __call__(self, images: Float[Array, "b h w c"]) -> Tokens:
        x = images
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.final_relu or i + 1 < len(self.convs):
                x = jax.nn.relu(x)
        return self.head(x.reshape(len(x), -1, x.shape[-1]), grid_positions(*self.grid))
