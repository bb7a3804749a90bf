"""Panoptic quality of slots: which segments are found, which are made up (Kirillov et al. 2019)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slots.metrics.matching import assign, finite_iou, take
from slots.metrics.overlap import reaches, union_from_counts
from slots.metrics.table import is_counted

CONFIDENCE = 0.5
"""A pixel belongs to a slot that is likelier than this, or to none."""


class PanopticCounts(NamedTuple):
    """What a picture adds to the panoptic quality of a data set; NaN for tables not counted."""

    iou: Float[Array, "*b"]
    """Sum over the segments found."""
    found: Float[Array, "*b"]
    """Pairs of an object and a slot with an IoU of at least ½."""
    made_up: Float[Array, "*b"]
    """Slots without such an object, those that hold the background apart."""
    missed: Float[Array, "*b"]
    """Objects without such a slot."""


def confident_labels(
    masks: Float[Array | np.ndarray, "b k h w"], confidence: float = CONFIDENCE
) -> Int[Array, "b h w"]:
    """The slot of each pixel, counted from 1; 0 where none is likelier than `confidence`.

    Args:
        masks: [B,K,H,W], sums to 1 over K.
        confidence: at least ½, so that no two slots pass it.

    Raises:
        ValueError: `confidence` is below ½ or not below 1.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be from 0.5 to below 1, got {confidence}.")
    masks = jnp.asarray(masks)
    sure = masks.max(axis=1) > confidence
    return jnp.where(sure, masks.argmax(axis=1) + 1, 0).astype(jnp.int32)


@jax.jit
def panoptic_counts_from_counts(counts: Int[Array, "*b c k"]) -> PanopticCounts:
    """What each picture adds, from a table of true labels and labels of `confident_labels`.

    True label 0 is the background, predicted label 0 stands for no slot. A slot whose IoU with the
    background is at least ½ holds it, and counts neither for nor against.
    """
    # Column 0 is no slot, though its pixels count in the areas of true segments.
    reached = reaches(counts, union_from_counts(counts), 0.5, strict=False) & (counts > 0)
    ground = reached[..., 0, 1:]
    slot = (counts.sum(-2) > 0)[..., 1:] & ~ground
    candidates = jnp.where(slot[..., None, :], finite_iou(counts)[..., 1:, 1:], 0.0)
    chosen = assign(candidates)
    matched = jnp.where(reached[..., 1:, 1:] & slot[..., None, :], candidates, 0.0)
    iou = take(matched, chosen)
    found = (iou > 0).sum(-1)
    objects = (counts.sum(-1) > 0)[..., 1:].sum(-1)
    values = (iou.sum(-1), found, slot.sum(-1) - found, objects - found)
    defined = is_counted(counts)
    return PanopticCounts(*(jnp.where(defined, v.astype(jnp.float32), jnp.nan) for v in values))


def panoptic_quality(counts: PanopticCounts) -> float:
    """Panoptic quality of a data set: Σ IoU / (TP + ½ FP + ½ FN), pooled over its pictures.

    Args:
        counts: what the pictures add, [N] each; pictures with NaN are left out.

    Returns:
        In [0, 1]; NaN where there is neither an object nor a slot.
    """
    iou, found, made_up, missed = (float(np.nansum(np.asarray(x, np.float64))) for x in counts)
    total = found + made_up / 2 + missed / 2
    return iou / total if total else math.nan
