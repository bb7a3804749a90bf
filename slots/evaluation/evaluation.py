"""What an evaluation found: values of examples and their statistics under a protocol."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slots import metrics
from slots.evaluation.accumulate import Accumulator, Statistic, over_seeds, statistic
from slots.evaluation.protocols import Protocol
from slots.evaluation.scoring import ATTENTION, MASK_METRICS, WEIGHTS

METRICS = (
    "accuracy",
    "hmc",
    *MASK_METRICS,
    "mse_mean",
    "mse_sum",
    "psnr",
    *(name + ATTENTION for name in MASK_METRICS),
    "slot_count_error",
)
"""Names of all values of examples, in the order they are reported in."""
COUNTS = ("objects", "classes")
"""What an example holds, beside its values: segments and classes."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    protocol: Protocol
    statistics: dict[str, Statistic]
    """Per metric, those of all examples together among them (without an error)."""
    per_example: dict[str, np.ndarray]
    """`index` [n], a column per metric that examples have, [n], or [m, n] of several members, and
    `COUNTS` [n] where there are label maps."""
    verdicts: tuple[metrics.Verdict, ...] = ()
    """On the health of each member's slots; empty where there are no masks of two slots."""

    @property
    def items(self) -> str:
        """How many examples there were, and how many the protocol asks for where that differs."""
        return counted(len(self.per_example["index"]), self.protocol.items)


def counted(scored: int, asked: int | None) -> str:
    """How many examples there were, and how many a protocol asks for where that differs."""
    found = f"{scored:,} examples"
    return found if asked in (None, scored) else f"{found} (the protocol asks for {asked:,})"


def measured_by(record: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """What stands behind the scores of a record of an evaluation: protocol, examples, seeds.

    Records of runs from before protocols stood in them name none.
    """
    told = (v.get("count") for v in record.values() if isinstance(v, Mapping))
    counts = [count for count in told if isinstance(count, int)]
    by = f"protocol {record['protocol']}, " if "protocol" in record else ""
    return f"{by}n = {max(counts, default=0):,}, seeds {', '.join(map(str, seeds))}"


def conclude(
    found: Accumulator,
    protocol: Protocol,
    together: Mapping[str, float] | None = None,
    verdicts: tuple[metrics.Verdict, ...] = (),
) -> Evaluation:
    """The evaluation of what was collected.

    Args:
        found: values of `METRICS`, and rows of `mask_scores`.
        protocol: under which.
        together: scores of all examples together.
        verdicts: see `Evaluation`.
    """
    table, arrays = found.table(), found.arrays()
    columns = {n: table[n] for n in ("index", *METRICS) if n in table}
    columns |= {n: np.maximum(arrays[n], 0) for n in COUNTS if n in arrays}
    statistics = {n: _statistic(n, columns, protocol) for n in columns if n in METRICS}
    count = len(columns["index"])
    pooled = _pooled(arrays) | dict(together or {})
    statistics |= {n: Statistic(value, math.nan, count) for n, value in pooled.items()}
    if protocol.masks == "better_of_both":
        for name in [n for n in statistics if n + ATTENTION in statistics]:
            if statistics[name + ATTENTION].mean > statistics[name].mean:
                statistics[name] = statistics[name + ATTENTION]
                if name in columns:
                    columns[name] = columns[name + ATTENTION]
    return Evaluation(protocol, statistics, columns, verdicts)


def merge(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The members' evaluations on the same examples as one; a lone one as it is."""
    first = evaluations[0]
    if len(evaluations) == 1:
        return first
    columns = {n: first.per_example[n] for n in ("index", *COUNTS) if n in first.per_example}
    statistics = {}
    for name, one in first.statistics.items():
        if name in first.per_example:
            columns[name] = np.stack([e.per_example[name] for e in evaluations])
            statistics[name] = _statistic(name, columns, first.protocol)
        else:
            members = tuple(e.statistics[name].mean for e in evaluations)
            statistics[name] = Statistic(over_seeds(members)[0], math.nan, one.count, members)
    verdicts = tuple(verdict for e in evaluations for verdict in e.verdicts)
    return Evaluation(first.protocol, statistics, columns, verdicts)


def _statistic(name: str, columns: Mapping[str, np.ndarray], protocol: Protocol) -> Statistic:
    weights = None
    if protocol.average == "per_object" and name.removesuffix(ATTENTION) in WEIGHTS:
        weights = columns[WEIGHTS[name.removesuffix(ATTENTION)]]
    return statistic(columns[name], protocol, weights)


def _pooled(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    found = {}
    for ending in ("", ATTENTION):
        if f"pq{ending}" in arrays:
            counts = metrics.PanopticCounts(*arrays[f"pq{ending}"].T)
            found[f"pq{ending}"] = metrics.panoptic_quality(counts)
        names = [f"ap50{ending}/{field}" for field in metrics.SlotDetections._fields]
        if all(name in arrays for name in names):
            rows: Any = [arrays[name] for name in names]
            found[f"ap50{ending}"] = metrics.slot_ap(metrics.SlotDetections(*rows))
    return found
