"""Slot health of a model's masks on the held-out examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from slots import metrics
from slots.types import Batch, Prediction

_PREFIX = "health/"
_TRUE = "true_cells"


def health_rows(
    prediction: Prediction, batch: Batch, max_objects: int
) -> dict[str, Float[Array, "b *rest"]]:
    """What slot health is computed from: the decoder's masks, or attention where none are drawn.

    Nothing for a single slot. The true masks' cells are among it, where there are some: a data set
    may itself be fixed in its layout.
    """
    drawn, attention = prediction.reconstruction, prediction.grouping.attention
    grid = prediction.tokens.grid
    masks = attention.reshape(*attention.shape[:2], *grid) if drawn is None else drawn.masks
    if masks.shape[1] < 2:
        return {}
    rows = {_PREFIX + name: value for name, value in metrics.picture_health(masks).items()}
    if batch.segmentation is not None and batch.segmentation.ndim == 3:
        true = jax.nn.one_hot(batch.segmentation, max_objects + 1, axis=1)
        rows[_PREFIX + _TRUE] = metrics.cells_of(true)
    return rows


def judge(rows: dict[str, np.ndarray]) -> tuple[dict[str, float], tuple[metrics.Verdict, ...]]:
    """Statistics by name (`health/entropy`, ...) and the verdict on them; both may be empty."""
    own = {n.removeprefix(_PREFIX): x for n, x in rows.items() if n.startswith(_PREFIX)}
    if not own:
        return {}, ()
    true = own.pop(_TRUE, None)
    health = metrics.slot_health(own)
    images = len(own["mass"])
    layout = 0.0 if true is None or images < 2 else metrics.position_score(true)
    told = metrics.verdict(health, images=images, true_position_score=layout)
    return {_PREFIX + name: value for name, value in health.items()}, (told,)


_IN_A_ROW = 3
"""Evaluations at which a verdict must hold before it is alarming."""
_EARLY = 0.1
"""Share of training before which nothing is: masks are uniform first, then often striped."""


def alarms(records: Sequence[Mapping[str, Any]], total: int) -> list[str | None]:
    """Each member's verdict where it is the same at three evaluations in a row and not healthy.

    Args:
        records: of a run's `metrics.jsonl`, in order; those of evaluations hold `verdicts`, for
            each member its `name`.
        total: steps of the whole training; evaluations in its first tenth do not count.
    """
    late = [r["verdicts"] for r in records if r.get("verdicts") and r["step"] > _EARLY * total]
    if len(late) < _IN_A_ROW:
        return [None] * (len(late[-1]) if late else 0)
    found: list[str | None] = []
    for member in zip(*late[-_IN_A_ROW:], strict=True):
        names = {told["name"] for told in member}
        (name,) = names if len(names) == 1 else ("healthy",)
        found.append(None if name == "healthy" else name)
    return found
