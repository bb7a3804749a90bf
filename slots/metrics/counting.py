"""How many segments there are: slots in use, true segments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from slots.metrics.table import Ignore, contingency, is_counted


def slot_count(
    pred: Integer[Array | np.ndarray, "b *t h w"],
    *,
    min_pixels: int = 1,
    ignore: Ignore | None = None,
    num_pred: int | None = None,
) -> Int[Array, "b"]:
    """Number of slots in use.

    Args:
        pred: predicted labels, [B,H,W] or [B,T,H,W]; every label is a slot, also 0.
        min_pixels: counted pixels that make a slot used.
        ignore: True where a pixel does not count.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        int32 [B]; -1 where a label lies outside the static number.

    Raises:
        ValueError: as `contingency`.
    """
    nothing = jnp.zeros(pred.shape, jnp.int32)
    counts = contingency(nothing, pred, ignore=ignore, num_true=1, num_pred=num_pred)
    return slot_count_from_counts(counts, min_pixels=min_pixels)


def segment_count(
    true: Integer[Array | np.ndarray, "b *t h w"],
    *,
    background: bool = True,
    ignore: Ignore | None = None,
    num_true: int | None = None,
) -> Int[Array, "b"]:
    """Number of true segments present.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        background: count the background where it is present; False counts objects only.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.

    Returns:
        int32 [B]; -1 where a label lies outside the static number.

    Raises:
        ValueError: as `contingency`.
    """
    nothing = jnp.zeros(true.shape, jnp.int32)
    counts = contingency(true, nothing, ignore=ignore, num_true=num_true, num_pred=1)
    return segment_count_from_counts(counts, background=background)


@functools.partial(jax.jit, static_argnames=("min_pixels",))
def slot_count_from_counts(
    counts: Int[Array, "*b c k"], *, min_pixels: int = 1
) -> Int[Array, "*b"]:
    """Slots in use in tables made by `contingency`; see `slot_count`."""
    number = (counts.sum(-2) >= min_pixels).sum(-1)
    return jnp.where(is_counted(counts), number, -1)


@functools.partial(jax.jit, static_argnames=("background",))
def segment_count_from_counts(
    counts: Int[Array, "*b c k"], *, background: bool = True
) -> Int[Array, "*b"]:
    """True segments in tables made by `contingency`; see `segment_count`."""
    number = (counts.sum(-1)[..., 0 if background else 1 :] > 0).sum(-1)
    return jnp.where(is_counted(counts), number, -1)
