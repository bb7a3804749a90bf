"""Metrics: arrays in, one value per example out. NaN means undefined, never 0 or 1.

Those of label maps start from one table; compute it once with `contingency` and hand it to the
functions that end in `_from_counts`.
"""

from slots.metrics.ari import adjusted_rand_index, adjusted_rand_index_from_counts
from slots.metrics.boundary import boundary_f, boundary_tolerance, region_similarity
from slots.metrics.boxes import corloc
from slots.metrics.codebook import key_diversity, mask_overlap
from slots.metrics.counting import (
    segment_count,
    segment_count_from_counts,
    slot_count,
    slot_count_from_counts,
)
from slots.metrics.detection import SlotDetections, slot_ap, slot_detections
from slots.metrics.frames import per_frame
from slots.metrics.frechet import frechet_distance, on_white
from slots.metrics.health import (
    NO_GRADIENT,
    STATISTICS,
    THRESHOLDS,
    VERDICTS,
    Thresholds,
    Verdict,
    cells_of,
    picture_health,
    position_score,
    slot_health,
    usage,
    verdict,
)
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
from slots.metrics.panoptic import (
    PanopticCounts,
    confident_labels,
    panoptic_counts_from_counts,
    panoptic_quality,
)
from slots.metrics.reasoning import accuracy, macro_f1, matched_huber_cost
from slots.metrics.reconstruction import psnr, reconstruction_error, ssim
from slots.metrics.set_prediction import DISTANCES, average_precision, nearest_alike
from slots.metrics.table import contingency
from slots.nn.codebook import perplexity

__all__ = [
    "DISTANCES",
    "NO_GRADIENT",
    "STATISTICS",
    "THRESHOLDS",
    "VERDICTS",
    "PanopticCounts",
    "SlotDetections",
    "Thresholds",
    "Verdict",
    "accuracy",
    "adjusted_rand_index",
    "adjusted_rand_index_from_counts",
    "average_precision",
    "boundary_f",
    "boundary_tolerance",
    "cells_of",
    "compact_labels",
    "confident_labels",
    "contingency",
    "corloc",
    "frechet_distance",
    "iou_from_counts",
    "key_diversity",
    "labels_from_masks",
    "macro_f1",
    "mask_overlap",
    "match_slots",
    "match_slots_from_counts",
    "matched_huber_cost",
    "mean_best_overlap",
    "mean_best_overlap_from_counts",
    "mean_iou",
    "mean_iou_from_counts",
    "nearest_alike",
    "object_recall",
    "object_recall_from_counts",
    "on_white",
    "panoptic_counts_from_counts",
    "panoptic_quality",
    "per_frame",
    "perplexity",
    "picture_health",
    "position_score",
    "psnr",
    "reconstruction_error",
    "region_similarity",
    "resize_labels",
    "segment_count",
    "segment_count_from_counts",
    "segmentation_covering",
    "segmentation_covering_from_counts",
    "slot_ap",
    "slot_count",
    "slot_count_from_counts",
    "slot_detections",
    "slot_health",
    "ssim",
    "usage",
    "verdict",
]
