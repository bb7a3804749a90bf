"""The contract of an encoder, and the head that turns a feature map into tokens."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from slots.config import Component, ConfigError
from slots.nn import MLP, Initializer, KernelInit, PositionEmbedding, glorot
from slots.types import Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenHeadConfig:
    """From feature map to tokens: add a position code, normalise, per-token MLP, each optional."""

    position: Literal["none", "coordinates", "linear", "fourier"] = "linear"
    """Code that is projected and added; modules with frames want `none`."""
    octaves: int = 3
    """Of the `fourier` code."""
    norm: Literal["channels", "all"] = "channels"
    """What the layer norm before the MLP runs over; `all` (CoSA) fixes the number of tokens."""
    hidden: int | None = None
    """Width of the MLP's hidden layer; None: as the features. 0 leaves out norm and MLP."""
    features: int | None = None
    """Width of the tokens; None: as the features."""
    final_relu: bool = False
    """ReLU after the MLP as well, as in CoSA."""
    layer_norm_epsilon: float = 1e-3
    """1e-3 in the released 2020 code (Keras), 1e-6 in the same group's later code."""

    def __post_init__(self) -> None:
        if self.hidden == 0 and self.features is not None:
            raise ConfigError("features needs the MLP: set hidden, or leave features out.")


class TokenHead(nnx.Module):
    """Makes tokens of a flattened feature map (Locatello et al. 2020, section 3.1 and appendix E).

    Parameters: `position`, `norm`, `mlp`, where present. Attributes: `feature_dim`, `content_dim`.
    """

    def __init__(
        self,
        config: TokenHeadConfig,
        width: int,
        grid: tuple[int, int],
        *,
        kernel_init: Initializer = glorot,
        rngs: nnx.Rngs,
    ):
        self.grid = grid
        self.feature_dim, self.content_dim = config.features or width, width
        self.position = (
            PositionEmbedding(
                width, config.position, config.octaves, kernel_init=kernel_init, rngs=rngs
            )
            if config.position != "none"
            else None
        )
        hidden = width if config.hidden is None else config.hidden
        self.joint_norm = config.norm == "all"
        normed = grid[0] * grid[1] * width if self.joint_norm else width
        self.norm = (
            nnx.LayerNorm(normed, epsilon=config.layer_norm_epsilon, rngs=rngs) if hidden else None
        )
        self.mlp = (
            MLP(
                width,
                hidden,
                self.feature_dim,
                final_relu=config.final_relu,
                kernel_init=kernel_init,
                rngs=rngs,
            )
            if hidden
            else None
        )

    def __call__(self, features: Float[Array, "b n c"], positions: Float[Array, "n 2"]) -> Tokens:
        """Tokens of a flattened feature map whose places lie at `positions`."""
        content = features
        if self.position is not None:
            features = features + self.position(positions)[None]
        if self.mlp is not None and self.norm is not None:
            flat = features.reshape(len(features), -1) if self.joint_norm else features
            features = self.mlp(self.norm(flat).reshape(features.shape))
        shape = (len(features), *positions.shape)
        return Tokens(
            features=features,
            positions=jnp.broadcast_to(positions[None], shape),
            content=content,
            grid=self.grid,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig(Component):
    """Settings every encoder has."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    head: TokenHeadConfig = TokenHeadConfig()
    kernel_init: KernelInit = "glorot"
    """Law of the first kernels: `glorot` as in Keras (2020), `lecun` as in Flax (later code),
    `uniform` as in PyTorch, but for biases, which are zero here."""

    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "Encoder":
        """Builds the encoder for pictures of `image_shape` (H, W, C)."""
        raise NotImplementedError


class Encoder(nnx.Module):
    """Pictures to tokens. Knows its token width and grid before it sees any data."""

    head: TokenHead
    feature_dim: int
    grid: tuple[int, int]

    @property
    def content_dim(self) -> int:
        """Width of the tokens' content, before places are added."""
        return self.head.content_dim

    def __call__(self, images: Float[Array, "b h w c"]) -> Tokens:
        """Tokens [B,N,D] of pictures in the model's own range."""
        raise NotImplementedError
