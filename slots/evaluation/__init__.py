"""Evaluation: protocols, per-example values, their means."""

from slots.evaluation.accumulate import Accumulator, Statistic, over_seeds, statistic
from slots.evaluation.evaluate import (
    Evaluation,
    EvaluationConfig,
    Evaluator,
    OnCollapse,
    make_predict,
    merge,
)
from slots.evaluation.health import alarms
from slots.evaluation.protocols import PROTOCOLS, Protocol, protocol
from slots.evaluation.sets import hits

__all__ = [
    "PROTOCOLS",
    "Accumulator",
    "Evaluation",
    "EvaluationConfig",
    "Evaluator",
    "OnCollapse",
    "Protocol",
    "Statistic",
    "alarms",
    "hits",
    "make_predict",
    "merge",
    "over_seeds",
    "protocol",
    "statistic",
]
