"""Scores of predicted label maps, whoever made them."""

from typing import Any

from jaxtyping import Array, Float, Int

from slots import metrics
from slots.types import Batch

MASK_METRICS = ("fg_ari", "ari", "mbo", "miou", "corloc")
"""In the order they are reported in."""


def label_metrics(
    pred: Int[Array, "b h w"], count: int, batch: Batch, max_objects: int
) -> dict[str, Float[Array, "b"]]:
    """`MASK_METRICS` per example, of a batch that has label maps.

    Args:
        pred: labels 0 to `count` - 1, as large as the batch's own.
        count: static, of labels.
        batch: the truth.
        max_objects: static, its largest label.
    """
    true, ignore = batch.segmentation, batch.ignore
    assert true is not None
    sizes: Any = {"num_true": max_objects + 1, "num_pred": count}
    counts = metrics.contingency(true, pred, ignore=ignore, **sizes)
    return {
        "fg_ari": metrics.adjusted_rand_index_from_counts(counts, ignore_background=True),
        "ari": metrics.adjusted_rand_index_from_counts(counts),
        "mbo": metrics.mean_best_overlap_from_counts(counts),
        "miou": metrics.mean_iou_from_counts(counts),
        "corloc": metrics.corloc(true, pred, ignore=ignore, **sizes),
    }
