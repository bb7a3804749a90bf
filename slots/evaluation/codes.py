"""How a model uses its dictionary, over all held-out examples together."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from slots import metrics
from slots.types import Prediction

_PREFIX = "codes/"
_CODES = f"{_PREFIX}codes"


def code_rows(prediction: Prediction) -> dict[str, Int[Array, "b k"]]:
    """The dictionary entries that slots were drawn from; nothing without a dictionary."""
    codes = prediction.grouping.diagnostics.get("codes")
    return {} if codes is None else {_CODES: codes}


def code_scores(variables: dict[str, Any], rows: dict[str, np.ndarray]) -> dict[str, float]:
    """`codes/perplexity`, `codes/used` and `codes/diversity` of the dictionary's keys."""
    if _CODES not in rows:
        return {}
    keys = np.asarray(variables["initializer"]["table"]["keys"])
    codes = rows[_CODES]
    return {
        f"{_PREFIX}perplexity": float(metrics.perplexity(jnp.asarray(codes), len(keys))),
        f"{_PREFIX}used": float(len(np.unique(codes))),
        f"{_PREFIX}diversity": metrics.key_diversity(keys),
    }
