"""Scores of predicted sets, which belong to all pictures together and to none alone."""

import math
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from slots.metrics import DISTANCES, average_precision, nearest_alike
from slots.models import Model, SetPrediction
from slots.types import Prediction

AP_NAMES = tuple(f"ap_{'inf' if math.isinf(t) else f'{t:g}'}" for t in DISTANCES)
"""`ap_inf`, `ap_1`, `ap_0.5`, `ap_0.25`, `ap_0.125`: by the distance below which a hit counts."""


def set_rows(prediction: Prediction) -> dict[str, Float[Array, "b *rest"]]:
    """What average precision is computed from; nothing where no set is predicted or known."""
    found = prediction.outputs.get("properties")
    if found is None or prediction.target is None:
        return {}
    return {"properties": found, "target": prediction.target}


def hits(model: SetPrediction, rows: dict[str, np.ndarray]) -> Bool[np.ndarray, "n k"]:
    """Which predictions have an object of their classes within a distance of ½, each alone."""
    found, target = rows["properties"], rows["target"]
    return nearest_alike(found, target, model.layout, model.distance_scale)[1] < 0.5


def average_precisions(model: Model, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """Average precision at every published distance, of the rows of all pictures.

    A prediction that is not finite makes it undefined (NaN).
    """
    if not rows or not isinstance(model, SetPrediction):
        return {}
    if not np.isfinite(rows["properties"]).all():
        return dict.fromkeys(AP_NAMES, math.nan)
    values = average_precision(
        rows["properties"], rows["target"], model.layout, distance_scale=model.distance_scale
    )
    return dict(zip(AP_NAMES, values.tolist(), strict=True))
