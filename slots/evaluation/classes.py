"""Scores of predicted classes of scenes, and of what slots say of the objects in them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slots import metrics
from slots.types import Batch, Prediction


def class_values(prediction: Prediction, batch: Batch) -> dict[str, Float[Array, "b"]]:
    """Per example `accuracy`, and `hmc` where objects are known; nothing without classes."""
    rows = class_rows(prediction, batch)
    if not rows:
        return {}
    values = {"accuracy": metrics.accuracy(rows["class/true"], rows["class/found"])}
    if prediction.target is not None:
        found = prediction.outputs["properties"]
        values["hmc"] = metrics.matched_huber_cost(found, prediction.target)
    return values


def class_rows(prediction: Prediction, batch: Batch) -> dict[str, Int[Array, "b"]]:
    """The true class and the likeliest; nothing where none is predicted or known.

    Where logits are not finite, the likeliest is -1.
    """
    logits = prediction.outputs.get("class_logits")
    if logits is None or batch.label is None:
        return {}
    found = jnp.where(jnp.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1)
    return {"class/found": found, "class/true": batch.label}


def class_scores(rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """`macro_f1`, which belongs to all scenes together."""
    if "class/true" not in rows:
        return {}
    return {"macro_f1": metrics.macro_f1(rows["class/true"], rows["class/found"])}
