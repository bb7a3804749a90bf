"""A slot's own coordinate system: places seen from it, and the frame that weights span.

Biza et al. 2023 (arXiv 2302.04973), section 3. Places and spreads are in (y, x) order; a rotation
holds the frame's axes as columns in (x, y) order: R = [v1 v2], v1 = (cos θ, sin θ).
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slots.types import Frames, Slots

Part = Literal["position", "scale", "rotation"]
Limit = Literal[45, 90]

_NEARLY_45 = math.acos(0.707)
"""How far an axis may turn before the other one is taken as the first: the released code compares
with 0.707, a little below cos 45°, which leaves bars at exactly 45° as they are."""

_ALIGNED = 1e-6
"""Covariance of y and x below which a shape counts as aligned with the axes."""


def slot_positions(
    positions: Float[Array, "n 2"], slots: Slots, scale_factor: float
) -> Float[Array, "b k n 2"] | Float[Array, "1 1 n 2"]:
    """A grid seen from each slot's frame.

    Without frames the grid is the same for all slots and comes with axes of length one, so that
    work done on it is shared.
    """
    grid = positions[None, None]
    return grid if slots.frames is None else relative_positions(grid, slots.frames, scale_factor)


def relative_positions(
    positions: Float[Array, "b1 k1 n 2"], frames: Frames, scale_factor: float
) -> Float[Array, "b k n 2"]:
    """Places seen from frames: subtract position, rotate, divide by factor and scale.

    `scale_factor` (δ) keeps coordinates small: a place one scale away from the centre has 1/δ. It
    acts only where frames have a scale.
    """
    relative = positions
    if frames.position is not None:
        relative = relative - frames.position[:, :, None]
    if frames.rotation is not None:
        relative = rotate_into(relative, frames.rotation)
    if frames.scale is not None:
        relative = relative / scale_factor / frames.scale[:, :, None]
    return relative


def rotate_into(
    places: Float[Array, "b1 k1 n 2"], rotation: Float[Array, "b k 2 2"]
) -> Float[Array, "b k n 2"]:
    """Places (y, x) in the coordinates of turned axes: x' = d·v1, y' = d·v2.

    Multiplied out, because a matrix product may round to half precision on accelerators.
    """
    y, x = places[..., 0], places[..., 1]
    r = rotation[:, :, None]
    along = x * r[..., 0, 0] + y * r[..., 1, 0]
    across = x * r[..., 0, 1] + y * r[..., 1, 1]
    return jnp.stack([across, along], axis=-1)


def rotation_matrix(angle: Float[Array, "*b"]) -> Float[Array, "*b 2 2"]:
    """[[cos θ, −sin θ], [sin θ, cos θ]]: the first axis is turned by θ (radians, from x to y)."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], axis=-1), jnp.stack([sin, cos], axis=-1)], axis=-2)


def estimate_frames(
    positions: Float[Array, "b n 2"],
    weights: Float[Array, "b k n"],
    parts: Sequence[Part],
    *,
    epsilon: float,
    scales: tuple[float, float],
    limit: Limit = 45,
) -> Frames:
    """The frames that weights span: their centre, principal axes, and spread along these.

    Args:
        positions: of the tokens.
        weights: sum to 1 over the tokens of each slot, or to 0.
        parts: which of position, scale and rotation to find; position is among them.
        epsilon: added to the weights of the spread.
        scales: what the spread is clipped to.
        limit: as in `principal_angle`.
    """
    # Highest precision: half of it, as accelerators have by default, moves centres and axes.
    position = jnp.einsum("bkn,bnc->bkc", weights, positions, precision="highest")
    offsets = positions[:, None] - position[:, :, None]
    rotation = scale = None
    if "rotation" in parts:
        rotation = rotation_matrix(principal_angle(offsets, weights, limit))
        offsets = rotate_into(offsets, rotation)
    if "scale" in parts:
        squares = ((weights + epsilon)[..., None] * jnp.square(offsets)).sum(axis=2)
        # Clipped before the root: it has no gradient at 0, where all tokens lie on a line.
        low, high = scales
        scale = jnp.sqrt(jnp.clip(squares, low**2, high**2))
    return Frames(position=position, scale=scale, rotation=rotation)


def principal_angle(
    offsets: Float[Array, "b k n 2"], weights: Float[Array, "b k n"], limit: Limit = 45
) -> Float[Array, "b k"]:
    """Angle θ of a shape's principal axes, from its weighted covariance.

    The released code takes eigenvectors by a closed form that loses their orthogonality in float32
    where the covariance of y and x is small; θ = ½·atan2(2 c_xy, c_xx − c_yy) is the same and does
    not, nor has it a division that may fail.

    Args:
        offsets: places relative to the weights' centre.
        weights: ≥ 0.
        limit: 45: the axis closest to horizontal counts as the first, |θ| ≤ 45°; 90: the major one
            does, |θ| ≤ 90°. Shapes aligned with the axes have θ = 0, but under 90 those as high as
            wide, or higher, have −90°.
    """
    y, x = offsets[..., 0], offsets[..., 1]
    yy = (weights * y * y).sum(axis=-1)
    xy = (weights * y * x).sum(axis=-1)
    xx = (weights * x * x).sum(axis=-1)
    aligned = jnp.abs(xy) < _ALIGNED
    # atan2 has no gradient at the origin; what is not used must be finite all the same.
    angle = 0.5 * jnp.arctan2(jnp.where(aligned, 1.0, 2 * xy), jnp.where(aligned, 1.0, xx - yy))
    if limit == 90:
        upright = jnp.where(xx <= yy, -jnp.pi / 2, 0.0).astype(angle.dtype)
        return jnp.where(aligned, upright, angle)
    turned = jnp.abs(angle) > _NEARLY_45
    angle = jnp.where(turned, angle - jnp.sign(angle) * (jnp.pi / 2), angle)
    return jnp.where(aligned, 0.0, angle)


def join_frames(
    vectors: Float[Array, "b k s"], frames: Frames | None
) -> Float[Array, "b k sp"] | Float[Array, "b k s"]:
    """Slots, position, scale and the rows of the rotation, what there is of them, side by side."""
    leaves = jax.tree.leaves(frames)  # in the order of the fields
    pose = [x.reshape(*x.shape[:2], -1).astype(vectors.dtype) for x in leaves]
    return jnp.concatenate([vectors, *pose], axis=-1)
