"""One-to-one matching of true segments with slots, and the mean IoU over it."""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from slots.metrics.overlap import iou_from_counts
from slots.metrics.table import Ignore, PredLabels, TrueLabels, contingency, is_counted

_PAIR_BONUS = 2.0**-18
"""Decides between assignments of equal IoU: above float32's noise, below what matters."""


def mean_iou(
    true: TrueLabels,
    pred: PredLabels,
    *,
    background: bool = False,
    denominator: Literal["truth", "either"] = "truth",
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Float[Array, "b"]:
    """Mean IoU over the one-to-one assignment with the largest sum (Kuhn 1955).

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        pred: predicted labels of the same shape.
        background: count the true background as a segment.
        denominator: what the sum is divided by. `"truth"`: the true segments, so that those left
            without a slot count 0. `"either"`: true segments and used slots, each matched pair
            once, so that false segments count 0 too (in the spirit of Karazija et al. 2021); needs
            `background=True`, as else the slot that rightly holds the background were a false one.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        float32 [B] in [0, 1]; NaN without a segment.

    Raises:
        ValueError: as `contingency`, or the denominator is unknown or lacks the background.
    """
    counts = contingency(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    return mean_iou_from_counts(counts, background=background, denominator=denominator)


def match_slots(
    true: TrueLabels,
    pred: PredLabels,
    *,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Int[Array, "b m"]:
    """The slot of every object in the one-to-one assignment with the largest sum of IoUs.

    Where several assignments have that sum, which one is taken is fixed but unspecified, except
    that an object with a choice of its own takes the lowest slot.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background, which is not matched.
        pred: predicted labels of the same shape.
        ignore: True where a pixel does not count.
        num_true: static number of true labels C; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        int32 [B,M], M = C-1; column i is the slot of true label i+1, -1 if it is absent or shares
        no pixel with a slot of its own.

    Raises:
        ValueError: as `contingency`.
    """
    counts = contingency(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    return match_slots_from_counts(counts)


@functools.partial(jax.jit, static_argnames=("background", "denominator"))
def mean_iou_from_counts(
    counts: Int[Array, "*b c k"],
    *,
    background: bool = False,
    denominator: Literal["truth", "either"] = "truth",
) -> Float[Array, "*b"]:
    """Matched mean IoU of tables made by `contingency`; see `mean_iou`."""
    if denominator not in ("truth", "either"):
        raise ValueError(f"denominator must be 'truth' or 'either', got {denominator!r}.")
    if denominator == "either" and not background:
        raise ValueError(
            "denominator='either' counts the background as a segment, got background=False; pass "
            "background=True."
        )
    segments = (counts.sum(-1) > 0)[..., 0 if background else 1 :].sum(-1)
    iou = finite_iou(counts)[..., 0 if background else 1 :, :]
    number = segments
    if denominator == "either":
        # Of several best assignments the one with most true pairs has the fewest false segments.
        slot = assign(iou + _PAIR_BONUS * (iou > 0).astype(jnp.float32))
        matched = take(iou, slot)
        number = segments + (counts.sum(-2) > 0).sum(-1) - (matched > 0).sum(-1)
    else:
        matched = take(iou, assign(iou))
    value = matched.sum(-1) / jnp.maximum(number, 1).astype(jnp.float32)
    return jnp.where(is_counted(counts) & (segments > 0), value, jnp.nan)


@jax.jit
def match_slots_from_counts(counts: Int[Array, "*b c k"]) -> Int[Array, "*b m"]:
    """Slots of objects in tables made by `contingency`; see `match_slots`."""
    iou = finite_iou(counts)[..., 1:, :]
    slot = assign(iou)
    return jnp.where(take(iou, slot) > 0, slot, -1)


def finite_iou(counts: Int[Array, "*b c k"]) -> Float[Array, "*b c k"]:
    """IoU with 0 for tables that were not counted: the search below never ends on NaN."""
    return jnp.where(is_counted(counts)[..., None, None], iou_from_counts(counts), 0.0)


def assign(score: Float[Array, "*b r k"]) -> Int[Array, "*b r"]:
    """Column of each row in the assignment of largest total; K and above stand for none.

    The table is filled up to a square with zeros, so that rows are always served in order.
    """
    *batch, rows, columns = score.shape
    side = max(rows, columns)
    flat = -score.reshape(math.prod(batch), rows, columns)
    cost = jnp.pad(flat, ((0, 0), (0, side - rows), (0, side - columns)))

    def solve(cost: Float[Array, "n n"]) -> Int[Array, "n"]:
        row, column = optax.assignment.hungarian_algorithm(cost)
        return jnp.zeros(side, jnp.int32).at[row].set(column)

    return jax.vmap(solve)(cost)[:, :rows].reshape(*batch, rows)


def take(values: Float[Array, "*b r k"], column: Int[Array, "*b r"]) -> Float[Array, "*b r"]:
    """One value a row, 0 where the column does not exist."""
    return jnp.take_along_axis(
        values, column[..., None], axis=-1, mode="fill", fill_value=0.0
    ).squeeze(-1)
