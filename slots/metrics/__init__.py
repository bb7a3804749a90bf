"""Metrics: arrays in, one value per example out. NaN means undefined, never 0 or 1.

Those of label maps start from one table; compute it once with `contingency` and hand it to the
functions that end in `_from_counts`.
"""

from slots.metrics.ari import adjusted_rand_index, adjusted_rand_index_from_counts
from slots.metrics.boxes import corloc
from slots.metrics.counting import (
    segment_count,
    segment_count_from_counts,
    slot_count,
    slot_count_from_counts,
)
from slots.metrics.frames import per_frame
from slots.metrics.masks import compact_labels, labels_from_masks, resize_labels
from slots.metrics.matching import (
    match_slots,
    match_slots_from_counts,
    mean_iou,
    mean_iou_from_counts,
)
from slots.metrics.overlap import (
    iou_from_counts,
    mean_best_overlap,
    mean_best_overlap_from_counts,
    object_recall,
    object_recall_from_counts,
    segmentation_covering,
    segmentation_covering_from_counts,
)
from slots.metrics.reconstruction import psnr, reconstruction_error, ssim
from slots.metrics.table import contingency

__all__ = [
    "adjusted_rand_index",
    "adjusted_rand_index_from_counts",
    "compact_labels",
    "contingency",
    "corloc",
    "iou_from_counts",
    "labels_from_masks",
    "match_slots",
    "match_slots_from_counts",
    "mean_best_overlap",
    "mean_best_overlap_from_counts",
    "mean_iou",
    "mean_iou_from_counts",
    "object_recall",
    "object_recall_from_counts",
    "per_frame",
    "psnr",
    "reconstruction_error",
    "resize_labels",
    "segment_count",
    "segment_count_from_counts",
    "segmentation_covering",
    "segmentation_covering_from_counts",
    "slot_count",
    "slot_count_from_counts",
    "ssim",
]
