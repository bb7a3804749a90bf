"""Examples that are read once and kept in memory, as arrays over all examples of a split."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int32

CACHE_BYTES = 2**30
"""What a data set may keep."""

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Examples of a split; the arrays are empty where it does not fit."""

    arrays: Arrays
    there: np.ndarray


class Kept:
    """Splits of one data set, in order of their first use, as long as there is room.

    For several threads at once: two that miss the same example both read it, and write the same.
    """

    def __init__(self) -> None:
        self._left = CACHE_BYTES
        self._splits: dict[str, _Rows] = {}
        self._lock = threading.Lock()

    def gather(
        self, split: str, count: int, index: Int32[np.ndarray, "b"], read: Callable[..., Arrays]
    ) -> Arrays:
        """Fresh arrays of the examples, by name, row for row.

        Args:
            split: its name.
            count: how many examples it has, at least one.
            index: numbers of those wanted.
            read: gives the arrays of any numbers, always of the same names, shapes and dtypes.
        """
        if split not in self._splits:
            first = read(index[:1])
            with self._lock:
                if split not in self._splits:
                    self._splits[split] = self._room(first, count)
        rows = self._splits[split]
        if not rows.arrays:
            return read(index)
        missing = index[~rows.there[index]]
        if len(missing):
            for name, values in read(missing).items():
                rows.arrays[name][missing] = values
            rows.there[missing] = True
        return {name: values[index] for name, values in rows.arrays.items()}

    def _room(self, first: Arrays, count: int) -> _Rows:
        wanted = count * sum(values.nbytes for values in first.values())
        if wanted > self._left:
            return _Rows({}, np.zeros(0, bool))
        self._left -= wanted
        # Memory that is not written yet is not taken yet.
        arrays = {n: np.empty((count, *x.shape[1:]), x.dtype) for n, x in first.items()}
        return _Rows(arrays, np.zeros(count, bool))
