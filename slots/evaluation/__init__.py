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
from slots.evaluation.labels import MASK_METRICS, label_metrics
from slots.evaluation.protocols import PROTOCOLS, Protocol, protocol
from slots.evaluation.references import REFERENCES, score_references
from slots.evaluation.sets import hits

__all__ = [
    "MASK_METRICS",
    "PROTOCOLS",
    "REFERENCES",
    "Accumulator",
    "Evaluation",
    "EvaluationConfig",
    "Evaluator",
    "OnCollapse",
    "Protocol",
    "Statistic",
    "alarms",
    "hits",
    "label_metrics",
    "make_predict",
    "merge",
    "over_seeds",
    "protocol",
    "score_references",
    "statistic",
]
