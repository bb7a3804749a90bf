"""Evaluation: protocols, per-example values, their means."""

from slots.evaluation.accumulate import Accumulator, Statistic, over_seeds, statistic
from slots.evaluation.evaluate import EvaluationConfig, Evaluator, OnCollapse, make_predict
from slots.evaluation.evaluation import Evaluation, merge
from slots.evaluation.health import alarms
from slots.evaluation.protocols import PROTOCOLS, Protocol, protocol
from slots.evaluation.references import REFERENCES, score_references
from slots.evaluation.scoring import MASK_METRICS
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
    "make_predict",
    "merge",
    "over_seeds",
    "protocol",
    "score_references",
    "statistic",
]
