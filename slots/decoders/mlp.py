"""Decoder that runs a perceptron at every place of a grid, for a pixel or a patch of them."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.decoders.base import Decoder, DecoderConfig, Mixture
from slots.nn import PositionEmbedding, PositionKind, kernel_init, pixel_positions, slot_positions
from slots.types import Reconstruction, Slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPDecoderConfig(DecoderConfig):
    """slot + position → ReLU layers → C colours and a mask logit, at each place.

    With `patch_size` 1 this is the per-pixel decoder of Biza et al. 2023 (Tetrominoes) and others.
    A place may draw a patch of pixels instead, which is the fastest decoder on a CPU.
    """

    hidden: tuple[int, ...] = (256, 256, 256, 256, 256, 256)
    """Widths of the ReLU layers."""
    patch_size: int = 1
    """Side of the square of pixels that one place draws; a picture that it does not tile is drawn
    larger and cropped."""
    product: bool = False
    """Adds a product of projected slot and projected position to the first layer, which lets one
    layer place an object."""
    position: PositionKind = "linear"
    octaves: int = 3
    """Of the `fourier` code."""

    def __post_init__(self) -> None:
        if not self.hidden:
            raise ConfigError("decoder.hidden needs at least one layer.")
        if self.patch_size < 1:
            raise ConfigError(f"decoder.patch_size={self.patch_size} must be at least 1.")

    @override
    def make(
        self,
        *,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
        rngs: nnx.Rngs,
    ) -> "MLPDecoder":
        return MLPDecoder(self, slot_dim, image_shape, scale_factor, rngs=rngs)


class MLPDecoder(Decoder):
    """Parameters: `position`, `layers`, `output`, `mixture`; `slot_gate`, `position_gate`."""

    def __init__(
        self,
        config: MLPDecoderConfig,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
        *,
        rngs: nnx.Rngs,
    ):
        law = kernel_init(config.kernel_init)

        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, kernel_init=law, rngs=rngs)

        def embedding(features: int) -> PositionEmbedding:
            return PositionEmbedding(
                features, config.position, config.octaves, kernel_init=law, rngs=rngs
            )

        height, width, self.channels = image_shape
        self.size = (height, width)
        self.patch = config.patch_size
        self.scale_factor = scale_factor
        self.position = embedding(slot_dim)
        widths = (slot_dim, *config.hidden)
        self.layers = nnx.List([linear(i, o) for i, o in itertools.pairwise(widths)])
        self.slot_gate = linear(slot_dim, widths[1]) if config.product else None
        self.position_gate = embedding(widths[1]) if config.product else None
        self.output = linear(widths[-1], (self.channels + 1) * self.patch**2)
        self.mixture = Mixture(self.channels, background=config.background)

    @override
    def __call__(self, slots: Slots) -> Reconstruction:
        rows, columns = (math.ceil(side / self.patch) for side in self.size)
        middle = (self.patch - 1) / 2
        places = pixel_positions(
            jnp.arange(rows, dtype=jnp.float32) * self.patch + middle,
            jnp.arange(columns, dtype=jnp.float32) * self.patch + middle,
            self.size,
        )
        positions = slot_positions(places, slots, self.scale_factor)
        x = jax.nn.relu(self._first(slots.vectors, positions))
        for layer in list(self.layers)[1:]:
            x = jax.nn.relu(layer(x))
        drawn = self.output(x).reshape(*x.shape[:-1], self.patch**2, self.channels + 1)

        def arrange(x: Float[Array, "*b n pq c"]) -> Float[Array, "*b y x c"]:
            x = rearrange(
                x, "... (h w) (p q) c -> ... (h p) (w q) c", h=rows, p=self.patch, q=self.patch
            )
            return x[..., : self.size[0], : self.size[1], :]

        return self.mixture(drawn, slots, arrange)

    def _first(
        self, vectors: Float[Array, "b k s"], positions: Float[Array, "b1 k1 n 2"]
    ) -> Float[Array, "b k n f"]:
        # The first layer is linear, so slot and position go through it apart: K·D + N·D work in
        # place of K·N·D where slots have no frames.
        first = self.layers[0]
        x = first(vectors)[:, :, None] + self.position(positions) @ first.kernel[...]
        if self.slot_gate is not None and self.position_gate is not None:
            gate = for_each(self.position_gate(positions), vectors.shape[:2])
            x = x + self.slot_gate(vectors)[:, :, None] * gate
        return x


def for_each(
    positions: Float[Array, "b1 k1 n f"], shape: tuple[int, ...]
) -> Float[Array, "b k n f"]:
    """What holds for all slots, for each of them, as a product with ones.

    Its gradient is then such a product too: XLA's CPU backend (jax 0.10) takes four times as long
    for the same sum of products (1.0 ms against 0.25 for 48 slots of 49 × 256 numbers).
    """
    if positions.shape[:2] == shape:
        return positions
    ones = jnp.ones((math.prod(shape), 1), positions.dtype)
    return (ones @ positions.reshape(1, -1)).reshape(*shape, *positions.shape[2:])
