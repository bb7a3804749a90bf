"""Slots as detections without a class: average precision of their segments or of their boxes."""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from slots.metrics.boxes import Boxes, box_area, tight_boxes
from slots.metrics.matching import assign, take
from slots.metrics.overlap import reaches, union_from_counts
from slots.metrics.panoptic import confident_labels
from slots.metrics.table import (
    Ignore,
    TrueLabels,
    check_cells,
    contingency,
    is_counted,
    pair_labels,
)

By = Literal["mask", "box"]


class SlotDetections(NamedTuple):
    """What the slots of each picture detect."""

    confidence: Float[Array, "b k"]
    """Mean of the slot's mask over its own pixels; NaN for a slot that detects nothing."""
    right: Bool[Array, "b k"]
    """Whether it has an object."""
    objects: Int[Array, "b"]
    """How many there are; -1 for pictures that could not be counted."""


def slot_detections(
    true: TrueLabels,
    masks: Float[Array | np.ndarray, "n k y x"],
    *,
    by: By = "mask",
    ignore: Ignore | None = None,
    num_true: int | None = None,
) -> SlotDetections:
    """Which slots have found an object, and how sure of it they are.

    A pixel belongs to the slot whose mask is above ½ there, or to none. Slots without a pixel, and
    those whose segment has an IoU of at least ½ with the background, detect nothing. The others are
    paired with objects for the largest sum of IoUs; pairs that reach ½ are right.

    Args:
        true: true labels, [B,H,W]; 0 is the background.
        masks: [B,K,H,W] in the size of the truth, sums to 1 over K.
        by: compare segments, or the tight boxes around them and around objects (parts are not
            separated). What holds the background is decided by segments.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.

    Raises:
        ValueError: as `contingency`, or `by` is unknown.
    """
    if by not in ("mask", "box"):
        raise ValueError(f"by must be 'mask' or 'box', got {by!r}.")
    pred, labels = confident_labels(masks), masks.shape[1] + 1
    options: Any = {"ignore": ignore, "num_true": num_true, "num_pred": labels}
    counts = contingency(true, pred, **options)
    shared, union = counts[:, 1:, 1:], union_from_counts(counts)[:, 1:, 1:]
    if by == "box":
        pairs = pair_labels(true, pred, **options)
        size = (true.shape[-2], true.shape[-1])
        check_cells(pairs.num_true, labels, max(size))
        objects = tight_boxes(pairs.true, pairs.counted, pairs.num_true, size)
        shared, union = _overlaps(objects, tight_boxes(pairs.pred, pairs.counted, labels, size))
    counted = jnp.ones(true.shape, bool) if ignore is None else ~jnp.asarray(ignore)
    confidence = _confidence(jnp.asarray(masks), jnp.where(counted, pred, 0))
    return _detections(counts, shared, union, confidence)


def slot_ap(found: SlotDetections) -> float:
    """Class-agnostic AP@0.5 of a data set: area under the curve of all pictures' detections.

    Detections are taken by falling confidence (equal ones in the order of picture and slot).
    Precision is made monotone from the right. As in the evaluation of cycle consistency, pairs are
    made picture by picture before any detection is taken, where COCO's evaluation lets the more
    confident one choose first.

    Args:
        found: of all pictures; those that could not be counted are left out.

    Returns:
        In [0, 1]; NaN where there is no object at all.
    """
    confidence = np.asarray(found.confidence, np.float64)
    objects = np.asarray(found.objects)
    total = int(objects[objects > 0].sum())
    if not total:
        return math.nan
    taken = ~np.isnan(confidence)
    order = np.argsort(-confidence[taken], kind="stable")
    right = np.asarray(found.right)[taken][order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * right).sum() / total)


@jax.jit
def _confidence(masks: Float[Array, "b k h w"], pred: Int[Array, "b h w"]) -> Float[Array, "b k"]:
    """Mean of each mask over the pixels that it has; 0 where it has none."""
    inside = jax.nn.one_hot(pred - 1, masks.shape[1], dtype=bool, axis=1)
    total = jnp.where(inside, masks, 0).astype(jnp.float32).sum((2, 3))
    return total / jnp.maximum(inside.sum((2, 3)), 1).astype(jnp.float32)


@jax.jit
def _detections(
    counts: Int[Array, "b c l"],
    shared: Int[Array, "b m k"],
    union: Int[Array, "b m k"],
    confidence: Float[Array, "b k"],
) -> SlotDetections:
    """Pairs objects and slots by the overlaps `shared` and `union`; `counts` are of segments."""
    sound = is_counted(counts)
    counts = jnp.where(sound[:, None, None], counts, 0)
    reached = functools.partial(reaches, threshold=0.5, strict=False)
    ground = reached(counts, union_from_counts(counts))[:, 0, 1:] & (counts[:, 0, 1:] > 0)
    slot = (counts.sum(-2)[:, 1:] > 0) & ~ground
    thing = counts.sum(-1)[:, 1:] > 0
    pair = slot[:, None] & thing[:, :, None]
    chosen = assign(jnp.where(pair, shared / jnp.maximum(union, 1), 0.0))
    hit = take((pair & reached(shared, union)).astype(jnp.float32), chosen) > 0
    return SlotDetections(
        confidence=jnp.where(slot, confidence, jnp.nan),
        right=(hit[..., None] & jax.nn.one_hot(chosen, slot.shape[-1], dtype=bool)).any(axis=1),
        objects=jnp.where(sound, thing.sum(-1), -1),
    )


def _overlaps(objects: Boxes, slots: Boxes) -> tuple[Int[Array, "b m k"], Int[Array, "b m k"]]:
    """Pixels in both boxes, and in either, of all pairs but those with label 0."""
    low = jnp.maximum(objects.low[:, 1:, None], slots.low[:, None, 1:])
    high = jnp.minimum(objects.high[:, 1:, None], slots.high[:, None, 1:])
    shared = jnp.prod(jnp.maximum(high - low, 0), axis=-1)
    return shared, box_area(objects)[:, 1:, None] + box_area(slots)[:, None, 1:] - shared
