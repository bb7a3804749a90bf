"""Region and boundary agreement of one object's masks: J and F (Perazzi et al., CVPR 2016)."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Masks = Bool[Array | np.ndarray, "b h w"]
Others = Bool[Array | np.ndarray, "n y x"]

TOLERANCE = 0.008
"""How far boundaries may lie apart, in diagonals of the picture."""


def region_similarity(true: Masks, pred: Others) -> Float[Array, "b"]:
    """J: intersection over union of two masks; 1 where both are empty.

    Args:
        true: one object's pixels, [B,H,W].
        pred: what is predicted for it, the same shape.

    Returns:
        float32 [B] in [0, 1].

    Raises:
        ValueError: shapes differ.
    """
    _check(true, pred)
    true, pred = jnp.asarray(true), jnp.asarray(pred)
    shared = (true & pred).sum(axis=(1, 2))
    union = (true | pred).sum(axis=(1, 2))
    return jnp.where(union > 0, shared / jnp.maximum(union, 1), 1.0)


def boundary_f(true: Masks, pred: Others, *, tolerance: int | None = None) -> Float[Array, "b"]:
    """F: harmonic mean of the precision and the recall of a mask's boundary.

    A pixel is on the boundary if it differs from its right, lower or lower right neighbour (in the
    last row from the right one, in the last column from the lower one alone). Precision is the
    share of the predicted boundary within `tolerance` of the true one, recall the reverse.

    Args:
        true: one object's pixels, [B,H,W].
        pred: what is predicted for it, the same shape.
        tolerance: radius in pixels of the disc around a boundary pixel; None: ⌈0.008 √(H² + W²)⌉,
            as for DAVIS.

    Returns:
        float32 [B] in [0, 1]; 1 where neither mask has a boundary, 0 where one has none.

    Raises:
        ValueError: shapes differ, or the tolerance is negative.
    """
    _check(true, pred)
    if tolerance is None:
        tolerance = boundary_tolerance(*true.shape[1:])
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0 pixels, got {tolerance}.")
    lines = [_boundary(jnp.asarray(mask)) for mask in (true, pred)]
    near = [_within(line, tolerance) for line in lines]
    lengths = [line.sum(axis=(1, 2)) for line in lines]
    recall, precision = (
        (line & other).sum(axis=(1, 2)) / jnp.maximum(length, 1)
        for line, other, length in zip(lines, reversed(near), lengths, strict=True)
    )
    total = precision + recall
    value = jnp.where(total > 0, 2 * precision * recall / jnp.where(total > 0, total, 1.0), 0.0)
    return jnp.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, value)


def boundary_tolerance(height: int, width: int) -> int:
    """How many pixels boundaries may lie apart in a picture of this size."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def _check(true: Masks, pred: Others) -> None:
    if true.shape != pred.shape:
        raise ValueError(
            f"true has shape {true.shape} but pred has {pred.shape}; bring both to one size."
        )


def _boundary(mask: Bool[Array, "b h w"]) -> Bool[Array, "b h w"]:
    # Beyond the edge a pixel's neighbour is the pixel at the edge, which never differs from itself.
    right = jnp.concatenate([mask[:, :, 1:], mask[:, :, -1:]], axis=2)
    down = jnp.concatenate([mask[:, 1:], mask[:, -1:]], axis=1)
    corner = jnp.concatenate([right[:, 1:], right[:, -1:]], axis=1)
    return (mask != right) | (mask != down) | (mask != corner)


def _within(line: Bool[Array, "b h w"], radius: int) -> Bool[Array, "b h w"]:
    """Pixels at most `radius` from one of the line: a row of the disc after the other."""
    height, width = line.shape[1:]
    # Sums of everything to the left count a window of any width by one subtraction.
    sums = jnp.cumsum(jnp.pad(line, ((0, 0), (0, 0), (1, 0))), axis=2, dtype=jnp.int32)
    columns = np.arange(width)
    found = jnp.zeros_like(line)
    for shift in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        reach = math.isqrt(radius**2 - shift**2)
        first, last = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, width)
        touched = sums[:, :, last] > sums[:, :, first]
        below = jnp.pad(touched, ((0, 0), (max(shift, 0), max(-shift, 0)), (0, 0)))
        start = max(-shift, 0)
        found |= below[:, start : start + height]
    return found
