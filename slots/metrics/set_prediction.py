"""Average precision of predicted sets of objects (Locatello et al. 2020, appendix)."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from slots.properties import PropertyLayout

DISTANCES = (math.inf, 1.0, 0.5, 0.25, 0.125)
"""Distances below which the published tables count a prediction."""


def average_precision(
    found: Float[np.ndarray, "n k p"],
    target: Float[np.ndarray, "i m q"],
    layout: PropertyLayout,
    *,
    distance_scale: float,
    thresholds: Sequence[float] = DISTANCES,
) -> Float[np.ndarray, "thresholds"]:
    """Area under the precision-recall curve of all pictures' predictions together.

    Predictions are taken by falling confidence (equal ones in the order of picture and slot). One
    is right if the nearest object of its picture whose categories all agree lies nearer than the
    threshold and was not claimed before. Precision is made monotone from the right.

    Args:
        found: predictions; the last number is the confidence.
        target: objects; the last number is above ½ where there is one.
        layout: of the vectors.
        distance_scale: from differences of coordinates to the unit of the thresholds.
        thresholds: distances; infinity for none.

    Returns:
        One value per threshold; NaN where there is no object at all.

    Raises:
        ValueError: shapes do not agree, or a prediction is not finite.
    """
    nearest, distance = nearest_alike(found, target, layout, distance_scale)
    candidate, near = np.isfinite(distance).ravel(), distance.ravel()
    pictures = np.repeat(np.arange(len(found)), found.shape[1])
    object_ = pictures * target.shape[1] + nearest.ravel()
    order = np.argsort(-np.asarray(found, np.float64)[..., -1].ravel(), kind="stable")
    total = int((target[..., -1] > 0.5).sum())
    return np.array(
        [
            _area(object_[order], (candidate & ((near < t) | math.isinf(t)))[order], total)
            for t in thresholds
        ]
    )


def nearest_alike(
    found: Float[np.ndarray, "n k p"],
    target: Float[np.ndarray, "i m q"],
    layout: PropertyLayout,
    distance_scale: float,
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Of each prediction, the nearest object of its picture whose categories all agree.

    Returns:
        Its number, and its distance: infinity where there is none.

    Raises:
        ValueError: shapes do not agree, or a prediction is not finite.
    """
    found, target = np.asarray(found, np.float64), np.asarray(target, np.float64)
    width = layout.width
    if found.shape[::2] != (len(target), width) or target.shape[-1] != width:
        raise ValueError(
            f"found {found.shape} and target {target.shape} must be [n, k, {width}] and "
            f"[n, m, {width}]."
        )
    if not np.isfinite(found).all():
        raise ValueError("a prediction is not finite; average precision needs all of them.")
    spans = layout.spans
    agree = (target[..., -1] > 0.5)[:, None]
    for name, _ in layout.categories:
        classes = [x[..., spans[name]].argmax(axis=-1) for x in (found, target)]
        agree = agree & (classes[0][:, :, None] == classes[1][:, None])
    places = [x[..., spans["position"]] for x in (found, target)]
    gaps = places[0][:, :, None] - places[1][:, None]
    distance = np.where(agree, distance_scale * np.sqrt(np.square(gaps).sum(-1)), math.inf)
    return distance.argmin(axis=-1), distance.min(axis=-1)


def _area(claimed: np.ndarray, close: np.ndarray, total: int) -> float:
    """Average precision of claims in order; of close ones on one object the first is right."""
    if not total:
        return math.nan
    _, first = np.unique(np.where(close, claimed, -1), return_index=True)
    right = np.zeros(len(claimed), bool)
    right[first] = True
    right &= close
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * right).sum() / total)
