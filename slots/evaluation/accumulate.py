"""Per-example values and their means: exact sums in the order of the examples' numbers.

The result is bitwise independent of batch size, device count and order; a mean of batch means,
or a float32 sum on the device, is not.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from slots.evaluation.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A mean over examples, and over members where there are several. Undefined values are NaN.

    Each member's mean is what it is when evaluated alone, over the examples defined for it; `mean`
    is the mean of those, undefined where one is. For the error, an example's value is its mean over
    the members that it is defined for.
    """

    mean: float
    stderr: float
    """Over examples: std (ddof 1) / √count; NaN for fewer than two."""
    count: int
    """Examples whose value was defined (for any member)."""
    members: tuple[float, ...] = ()
    """The members' means; empty for a lone one."""

    @property
    def seeds_mean(self) -> float:
        """Mean over members, which is `mean`."""
        return self.mean

    @property
    def seeds_std(self) -> float:
        """Standard deviation of the members' means (ddof 1); NaN for fewer than two."""
        return over_seeds(self.members)[1]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for files."""
        found: dict[str, Any] = {"mean": self.mean, "stderr": self.stderr, "count": self.count}
        if self.members:
            spread = {"seeds_mean": self.seeds_mean, "seeds_std": self.seeds_std}
            found |= {**spread, "members": list(self.members)}
        return found


class Accumulator:
    """Collects values by example number; a number that comes twice (padding) counts once."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}
        self._arrays: dict[int, dict[str, np.ndarray]] = {}

    def add(
        self,
        index: np.ndarray,
        values: Mapping[str, np.ndarray],
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Adds one batch.

        Args:
            index: example numbers [B].
            values: per metric [B]; NaN where undefined.
            arrays: per name [B,...], what scores of all examples together are computed from.
        """
        for row, number in enumerate(np.asarray(index).tolist()):
            if number not in self._rows:
                self._rows[number] = {name: float(v[row]) for name, v in values.items()}
                self._arrays[number] = {n: np.asarray(x[row]) for n, x in (arrays or {}).items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """What was added as arrays, in the order of the example numbers."""
        rows = [self._arrays[number] for number in sorted(self._arrays)]
        return {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}

    def table(self) -> dict[str, np.ndarray]:
        """`index` and one float64 column per metric, in the order of the example numbers."""
        numbers = sorted(self._rows)
        names = list(self._rows[numbers[0]]) if numbers else []
        columns = {n: np.array([self._rows[i][n] for i in numbers], np.float64) for n in names}
        return {"index": np.array(numbers, np.int64), **columns}


def statistic(values: Any, protocol: Protocol, weights: Any = None) -> Statistic:
    """Mean, standard error and count of per-example values, NaN where undefined.

    Args:
        values: [n], or [m, n] of several members.
        protocol: says what an undefined value counts as.
        weights: [n], of the examples; None: all the same.
    """
    values = np.asarray(values, np.float64)
    weights = None if weights is None else np.asarray(weights, np.float64)
    if protocol.empty != "skip":
        values = np.where(np.isnan(values), 1.0 if protocol.empty == "one" else 0.0, values)
    if values.ndim == 1:
        return _of_examples(values, weights)
    members = tuple(_of_examples(row, weights).mean for row in values)
    examples = _of_examples([_of_examples(column).mean for column in values.T], weights)
    return Statistic(over_seeds(members)[0], examples.stderr, examples.count, members)


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 1); undefined (NaN) where a value is not finite.

    The deviation of fewer than two values is undefined too.
    """
    if not values or not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def _of_examples(values: Iterable[float], weights: Iterable[float] | None = None) -> Statistic:
    """Of those with a value and a weight; the error is that of a ratio of two sums."""
    known = list(values)
    paired = zip(known, [1.0] * len(known) if weights is None else weights, strict=True)
    counted = [(float(v), float(w)) for v, w in paired if w > 0 and not math.isnan(v)]
    n = len(counted)
    if n == 0:
        return Statistic(math.nan, math.nan, 0)
    total = math.fsum(w for _, w in counted)
    mean = math.fsum(v * w for v, w in counted) / total
    if n == 1:
        return Statistic(mean, math.nan, 1)
    squares = math.fsum((w * (v - mean)) ** 2 for v, w in counted)
    return Statistic(mean, math.sqrt(squares * n / (n - 1)) / total, n)
