"""What the figures accept, checked once and brought to numpy."""

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

Array = np.ndarray | jax.Array
"""Shapes are checked here, in words, for these functions are called by hand."""


def check_axes(name: str, array: Array, axes: str) -> np.ndarray:
    """The array on the host.

    Args:
        name: what the caller calls it, for the error.
        array: anything with a shape.
        axes: its axes by name; a number stands for a fixed size, as in `"scenes 7 H W"`.

    Raises:
        ValueError: it has other axes, or none at all along one of them.
    """
    wanted, shape = axes.split(), tuple(array.shape)
    fits = len(shape) == len(wanted) and all(
        not axis.isdigit() or int(axis) == size for axis, size in zip(wanted, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"`{name}` has shape {shape}, expected [{', '.join(wanted)}].")
    if 0 in shape:
        raise ValueError(f"`{name}` has shape {shape}; there is nothing to draw.")
    return np.asarray(array)


def to_rgb(name: str, array: Array, axes: str) -> Float[np.ndarray, "*n h w 3"]:
    """Pictures as float32 RGB in [0, 1]; values outside are clipped, NaN stays.

    Args:
        name: what the caller calls it, for the error.
        array: floats in [0, 1] or uint8, with 1 or 3 channels.
        axes: its axes by name, the last being channels.

    Raises:
        ValueError: other axes, or a number of channels that is neither 1 nor 3.
    """
    pixels = check_axes(name, array, axes)
    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"`{name}` has {pixels.shape[-1]} channels, expected 1 (grey) or 3 (RGB).")
    scale = np.float32(255 if pixels.dtype == np.uint8 else 1)
    clipped = np.clip(pixels.astype(np.float32) / scale, 0.0, 1.0)
    return np.broadcast_to(clipped, (*clipped.shape[:-1], 3))


def to_masks(name: str, array: Array, axes: str) -> Float[np.ndarray, "*n h w"]:
    """Masks as float32 in [0, 1]; what is not finite counts as 0."""
    return np.clip(np.nan_to_num(check_axes(name, array, axes).astype(np.float32)), 0.0, 1.0)


def to_labels(name: str, array: Array, axes: str) -> Int[np.ndarray, "*n h w"]:
    """Label maps as they are.

    Raises:
        ValueError: other axes, or labels that are not integers from 0 up.
    """
    labels = check_axes(name, array, axes)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError(f"`{name}` should hold integers from 0 up, got {labels.dtype}.")
    return labels


def resize_labels(
    labels: Shaped[np.ndarray, "h w"], size: tuple[int, int]
) -> Shaped[np.ndarray, "hh ww"]:
    """Labels [h, w] at another (height, width): nearest neighbour with half-pixel centres."""
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * (old / new)).astype(int)
        for new, old in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]
