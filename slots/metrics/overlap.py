"""How well some slot covers each true segment: IoU, best overlap, covering, recall.

The segments that count are the labels present in the truth, the background only if asked for. Its
pixels always count in the area of a slot, so that a slot that leaks into the background loses.
"""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from slots.metrics.table import Ignore, PredLabels, TrueLabels, contingency, is_counted

_MAX_DENOMINATOR = 100
"""Of a threshold: keeps denominator times area within int32."""


def mean_best_overlap(
    true: TrueLabels,
    pred: PredLabels,
    *,
    background: bool = False,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Float[Array, "b"]:
    """Mean over true segments of the best IoU with any slot, mBO (Pont-Tuset et al. 2017).

    A slot may serve several segments. For mBO^c pass the class map as `true`: equal classes are
    one segment. The same number is published as mSC, mean segmentation covering (Engelcke et al.
    2020).

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        pred: predicted labels of the same shape.
        background: count the true background as a segment.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        float32 [B] in [0, 1]; NaN without a segment.

    Raises:
        ValueError: as `contingency`.
    """
    counts = contingency(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    return mean_best_overlap_from_counts(counts, background=background)


def segmentation_covering(
    true: TrueLabels,
    pred: PredLabels,
    *,
    weighted: bool = False,
    background: bool = False,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Float[Array, "b"]:
    """Mean over true segments of the best IoU with any slot, weighted by area if asked for.

    Weighted it is SC (Arbelaez et al. 2011), the column `mSC` of CLEVRTex (Karazija et al. 2021);
    not weighted it is the mSC of GENESIS (Engelcke et al. 2020), which equals mBO.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        pred: predicted labels of the same shape.
        weighted: weigh each segment by its number of pixels.
        background: count the true background as a segment.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        float32 [B] in [0, 1]; NaN without a segment.

    Raises:
        ValueError: as `contingency`.
    """
    counts = contingency(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    return segmentation_covering_from_counts(counts, weighted=weighted, background=background)


def object_recall(
    true: TrueLabels,
    pred: PredLabels,
    *,
    threshold: float = 0.5,
    strict: bool = False,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Float[Array, "b"]:
    """Share of true objects whose IoU with some slot reaches the threshold.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        pred: predicted labels of the same shape.
        threshold: in [0, 1], a fraction with a denominator up to 100; compared in integers, so
            that an IoU equal to it is never lost to rounding.
        strict: the IoU must pass the threshold; just reaching it is not enough.
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        float32 [B] in [0, 1]; NaN without an object.

    Raises:
        ValueError: as `contingency`, or the threshold is no such fraction.
    """
    counts = contingency(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    return object_recall_from_counts(counts, threshold=threshold, strict=strict)


@jax.jit
def iou_from_counts(counts: Int[Array, "*b c k"]) -> Float[Array, "*b c k"]:
    """IoU of every true segment with every slot; 0 for empty ones, NaN for tables not counted."""
    value = counts / jnp.maximum(union_from_counts(counts), 1)
    return jnp.where(is_counted(counts)[..., None, None], value, jnp.nan)


@functools.partial(jax.jit, static_argnames=("background",))
def mean_best_overlap_from_counts(
    counts: Int[Array, "*b c k"], *, background: bool = False
) -> Float[Array, "*b"]:
    """Mean best overlap of tables made by `contingency`; see `mean_best_overlap`."""
    return segmentation_covering_from_counts(counts, background=background)


@functools.partial(jax.jit, static_argnames=("weighted", "background"))
def segmentation_covering_from_counts(
    counts: Int[Array, "*b c k"], *, weighted: bool = False, background: bool = False
) -> Float[Array, "*b"]:
    """Covering of tables made by `contingency`; see `segmentation_covering`."""
    first = 0 if background else 1
    best = iou_from_counts(counts)[..., first:, :].max(-1)
    area = counts.sum(-1)[..., first:]
    weight = area if weighted else area > 0
    return _weighted_mean(best, weight.astype(jnp.float32))


@functools.partial(jax.jit, static_argnames=("threshold", "strict"))
def object_recall_from_counts(
    counts: Int[Array, "*b c k"], *, threshold: float = 0.5, strict: bool = False
) -> Float[Array, "*b"]:
    """Recall of tables made by `contingency`; see `object_recall`."""
    reached = reaches(counts, union_from_counts(counts), threshold, strict=strict)[..., 1:, :]
    present = (counts.sum(-1)[..., 1:] > 0).astype(jnp.float32)
    value = _weighted_mean(reached.any(-1).astype(jnp.float32), present)
    return jnp.where(is_counted(counts), value, jnp.nan)


def reaches(
    intersection: Int[Array, "*b"], union: Int[Array, "*b"], threshold: float, *, strict: bool
) -> Bool[Array, "*b"]:
    """Whether intersection / union is at least (`strict`: more than) a threshold, in integers.

    Raises:
        ValueError: the threshold lies outside [0, 1] or is no fraction of small denominator.
    """
    fraction = Fraction(threshold).limit_denominator(_MAX_DENOMINATOR)
    if not 0 <= threshold <= 1 or abs(fraction - Fraction(threshold)) > 1e-9:
        raise ValueError(
            f"threshold must be a fraction in [0, 1] with a denominator up to {_MAX_DENOMINATOR}, "
            f"got {threshold}; round it to hundredths."
        )
    have, need = fraction.denominator * intersection, fraction.numerator * union
    return have > need if strict else have >= need


def union_from_counts(counts: Int[Array, "*b c k"]) -> Int[Array, "*b c k"]:
    """Pixels in a true segment, in a slot, or in both, for every pair."""
    return counts.sum(-1, keepdims=True) + counts.sum(-2, keepdims=True) - counts


def _weighted_mean(
    values: Float[Array, "*b s"], weight: Float[Array, "*b s"]
) -> Float[Array, "*b"]:
    """Mean over the last axis; NaN where all weights are 0. Exactly 1 if all values are 1."""
    total = weight.sum(-1)
    value = (weight * values).sum(-1) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, value, jnp.nan)
