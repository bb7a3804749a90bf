"""Boxes around segments, and whether an image has an object located at all (CorLoc)."""

import functools
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from slots.metrics.overlap import object_recall, reaches
from slots.metrics.table import (
    Ignore,
    LabelPairs,
    PredLabels,
    TrueLabels,
    check_cells,
    count_pairs,
    in_range,
    pair_labels,
)


class Boxes(NamedTuple):
    """Tight boxes around the counted pixels of every label, axes as in the picture."""

    low: Int[Array, "b n d"]
    """First pixel, (y, x) or (t, y, x)."""
    high: Int[Array, "b n d"]
    """One past the last pixel, so that a single pixel has area 1."""
    present: Bool[Array, "b n"]


def corloc(
    true: TrueLabels,
    pred: PredLabels,
    *,
    by: Literal["box", "mask"] = "box",
    strict: bool = False,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Float[Array, "b"]:
    """Correct localisation: 1 where some slot has IoU 0.5 with some object (Deselaers et al. 2010).

    K slots are K tries, so compare only at equal K; the classic CorLoc allows one box an image.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        pred: predicted labels of the same shape.
        by: compare tight boxes around all pixels of a label (parts are not separated; the box of
            a clip spans time too), or the masks themselves.
        strict: the IoU must pass 0.5; just reaching it is not enough.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        float32 [B], 0 or 1; NaN without an object.

    Raises:
        ValueError: as `contingency`, or `by` is unknown.
    """
    if by == "mask":
        recall = object_recall(
            true, pred, strict=strict, ignore=ignore, num_true=num_true, num_pred=num_pred
        )
        return jnp.where(recall > 0, 1.0, recall)  # leaves 0 and NaN as they are
    if by != "box":
        raise ValueError(f"by must be 'box' or 'mask', got {by!r}.")
    pairs = pair_labels(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    check_cells(pairs.num_true, pairs.num_pred, max(true.shape[1:]))
    return _by_box(*pairs[:3], pairs.num_true, pairs.num_pred, tuple(true.shape[1:]), strict)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _by_box(
    true: Int[Array, "b p"],
    pred: Int[Array, "b p"],
    counted: Bool[Array, "b p"],
    num_true: int,
    num_pred: int,
    size: tuple[int, ...],
    strict: bool,
) -> Float[Array, "b"]:
    objects = tight_boxes(true, counted, num_true, size)
    objects = Boxes(*(part[:, 1:] for part in objects))
    slots = tight_boxes(pred, counted, num_pred, size)
    low = jnp.maximum(objects.low[:, :, None], slots.low[:, None])
    high = jnp.minimum(objects.high[:, :, None], slots.high[:, None])
    shared = jnp.prod(jnp.maximum(high - low, 0), axis=-1)
    union = box_area(objects)[:, :, None] + box_area(slots)[:, None] - shared
    hit = reaches(shared, union, 0.5, strict=strict)
    hit &= objects.present[:, :, None] & slots.present[:, None]
    value = hit.any((1, 2)).astype(jnp.float32)
    defined = objects.present.any(1) & in_range(LabelPairs(true, pred, counted, num_true, num_pred))
    return jnp.where(defined, value, jnp.nan)


def tight_boxes(
    labels: Int[Array, "b p"], counted: Bool[Array, "b p"], number: int, size: tuple[int, ...]
) -> Boxes:
    """Boxes of labels 0 … number-1 in flattened pictures of the given size."""
    batch = labels.shape[0]
    lows, highs = [], []
    for axis, length in enumerate(size):
        place = jax.lax.broadcasted_iota(jnp.int32, size, axis).reshape(1, math.prod(size))
        place = jnp.broadcast_to(place, labels.shape)
        taken = count_pairs(LabelPairs(labels, place, counted, number, length)) > 0
        lows.append(jnp.argmax(taken, axis=-1))
        highs.append(length - jnp.argmax(taken[..., ::-1], axis=-1))
    present = taken.any(-1).reshape(batch, number)
    return Boxes(jnp.stack(lows, axis=-1), jnp.stack(highs, axis=-1), present)


def box_area(boxes: Boxes) -> Int[Array, "b n"]:
    """Pixels in each box."""
    return jnp.prod(boxes.high - boxes.low, axis=-1)
