"""Evaluation: protocols, per-example values, their means."""

from slots.evaluation.accumulate import Accumulator, Statistic, statistic
from slots.evaluation.evaluate import Evaluation, EvaluationConfig, Evaluator, make_predict
from slots.evaluation.protocols import PROTOCOLS, Protocol, protocol

__all__ = [
    "PROTOCOLS",
    "Accumulator",
    "Evaluation",
    "EvaluationConfig",
    "Evaluator",
    "Protocol",
    "Statistic",
    "make_predict",
    "protocol",
    "statistic",
]
