"""Metrics frame by frame instead of over the whole clip."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from slots.metrics.table import Ignore, PredLabels, TrueLabels

Metric = Callable[..., Float[Array, "n"]]


def per_frame(metric: Metric) -> Metric:
    """Makes a metric of clips that scores every frame as an image and averages over frames.

    Slots may change places between frames at no cost, so the value is not that of the clip. Frames
    where the metric is undefined (NaN) are left out.

    Args:
        metric: a metric of label maps, e.g. `adjusted_rand_index`.

    Returns:
        A function of `true` and `pred`, both [B,T,H,W], with the options of `metric`; it returns
        float32 [B], NaN where no frame has a value.
    """

    def averaged(
        true: TrueLabels, pred: PredLabels, *, ignore: Ignore | None = None, **options: Any
    ) -> Float[Array, "b"]:
        if true.ndim != 4 or pred.ndim != 4:
            raise ValueError(
                f"per_frame needs clips [B,T,H,W], got true {true.shape} and pred {pred.shape}; "
                "add an axis for time or call the metric itself."
            )
        maps = (x if x is None else x.reshape(-1, *x.shape[2:]) for x in (true, pred, ignore))
        flat_true, flat_pred, flat_ignore = maps
        values = metric(flat_true, flat_pred, ignore=flat_ignore, **options)
        return jnp.nanmean(values.reshape(true.shape[:2]), axis=1)

    return averaged
