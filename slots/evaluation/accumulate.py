"""Per-example values and their means: exact sums in the order of the examples' numbers.

The result is bitwise independent of batch size, device count and order; a mean of batch means,
or a float32 sum on the device, is not.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from slots.evaluation.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A mean over examples. Undefined values are NaN."""

    mean: float
    stderr: float
    """std (ddof 1) / √count; NaN for fewer than two."""
    count: int
    """Examples whose value was defined."""

    def as_dict(self) -> dict[str, float | int]:
        """Plain numbers, for files."""
        return dataclasses.asdict(self)


class Accumulator:
    """Collects values by example number; a number that comes twice (padding) counts once."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}

    def add(self, index: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Adds one batch.

        Args:
            index: example numbers [B].
            values: per metric [B]; NaN where undefined.
        """
        for row, number in enumerate(np.asarray(index).tolist()):
            if number not in self._rows:
                self._rows[number] = {name: float(v[row]) for name, v in values.items()}

    def table(self) -> dict[str, np.ndarray]:
        """`index` and one float64 column per metric, in the order of the example numbers."""
        numbers = sorted(self._rows)
        names = list(self._rows[numbers[0]]) if numbers else []
        columns = {n: np.array([self._rows[i][n] for i in numbers], np.float64) for n in names}
        return {"index": np.array(numbers, np.int64), **columns}

    def statistics(self, protocol: Protocol) -> dict[str, Statistic]:
        """Mean, standard error and count per metric, under the protocol's rule for undefined."""
        table = self.table()
        return {n: statistic(v, protocol) for n, v in table.items() if n != "index"}


def statistic(values: Any, protocol: Protocol) -> Statistic:
    """Mean, standard error and count of per-example values [n], NaN where undefined."""
    numbers = [float(v) for v in values]
    if protocol.empty != "skip":
        filler = 1.0 if protocol.empty == "one" else 0.0
        numbers = [filler if math.isnan(v) else v for v in numbers]
    counted = [v for v in numbers if not math.isnan(v)]
    n = len(counted)
    if n == 0:
        return Statistic(math.nan, math.nan, 0)
    mean = math.fsum(counted) / n
    if n == 1:
        return Statistic(mean, math.nan, 1)
    variance = math.fsum((v - mean) ** 2 for v in counted) / (n - 1)
    return Statistic(mean, math.sqrt(variance / n), n)
