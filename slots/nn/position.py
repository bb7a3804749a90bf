"""Grids of positions and their codes."""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from slots.nn.initial import Initializer, glorot

PositionKind = Literal["coordinates", "linear", "fourier"]


def pixel_positions(
    rows: Float[Array, "h"], columns: Float[Array, "w"], size: tuple[int, int]
) -> Float[Array, "n 2"]:
    """Row-major (y, x) in [-1, 1] of places given in pixels of a picture of `size` (H, W).

    The middles of the corner pixels lie on -1 and 1, whatever the aspect ratio.
    """
    axes = [
        2.0 * places / (side - 1) - 1.0 if side > 1 else jnp.zeros_like(places)
        for places, side in zip((rows, columns), size, strict=True)
    ]
    y, x = jnp.meshgrid(*axes, indexing="ij")
    return jnp.stack([y, x], axis=-1).reshape(-1, 2)


def grid_positions(height: int, width: int) -> Float[Array, "n 2"]:
    """Row-major (y, x) of a grid whose corner cells lie on -1 and 1, as the papers have it."""
    return pixel_positions(
        jnp.arange(height, dtype=jnp.float32),
        jnp.arange(width, dtype=jnp.float32),
        (height, width),
    )


def encode_positions(
    positions: Float[Array, "*b 2"], kind: PositionKind, octaves: int = 3
) -> Float[Array, "*b p"]:
    """Raw code of positions, before its learned projection.

    `coordinates`: (y, x) as they are (Kipf et al. 2022, Biza et al. 2023).
    `linear`: (y, x, 1 − y, 1 − x) with y, x mapped to [0, 1] (Locatello et al. 2020).
    `fourier`: (y, x) and sin, cos of π·2^i·(y, x) for i < octaves (Mildenhall et al. 2020).
    """
    if kind == "coordinates":
        return positions
    if kind == "linear":
        unit = (positions + 1) / 2
        return jnp.concatenate([unit, 1 - unit], axis=-1)
    parts = [positions]
    for octave in range(octaves):
        angle = positions * (jnp.pi * 2**octave)
        parts += [jnp.sin(angle), jnp.cos(angle)]
    return jnp.concatenate(parts, axis=-1)


def position_width(kind: PositionKind, octaves: int = 3) -> int:
    """Last axis of `encode_positions`."""
    return {"coordinates": 2, "linear": 4, "fourier": 2 + 4 * octaves}[kind]


class PositionEmbedding(nnx.Module):
    """Learned projection (with bias) of the position code to a feature width.

    Parameters: `projection` (linear layer, kernel by `kernel_init`).
    """

    def __init__(
        self,
        features: int,
        kind: PositionKind = "linear",
        octaves: int = 3,
        *,
        kernel_init: Initializer = glorot,
        rngs: nnx.Rngs,
    ):
        self.kind: PositionKind = kind
        self.octaves = octaves
        width = position_width(kind, octaves)
        self.projection = nnx.Linear(width, features, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, positions: Float[Array, "*b 2"]) -> Float[Array, "*b d"]:
        """Projected code of positions (y, x) in [-1, 1]."""
        return self.projection(self.code(positions))

    @property
    def bias(self) -> Float[Array, "d"]:
        """What the projection adds."""
        bias = self.projection.bias
        assert bias is not None
        return bias[...]

    def code(self, positions: Float[Array, "*b 2"]) -> Float[Array, "*b p"]:
        """The code before its projection."""
        code = encode_positions(positions, self.kind, self.octaves)
        return code.astype(self.projection.kernel[...].dtype)
