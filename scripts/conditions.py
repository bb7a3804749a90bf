"""The runs a comparison is made of: trained, gone on with, or read back where finished."""

import dataclasses
import itertools
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from provenance import commit, machine

import slots
from slots.experiment import ExperimentConfig
from slots.training import read_records

_K = TypeVar("_K")


@dataclasses.dataclass(frozen=True)
class Condition:
    """A run of several seeds, and how it was made."""

    folder: Path
    config: ExperimentConfig

    @property
    def _note(self) -> Path:
        return self.folder / "made.json"

    def train(self) -> None:
        """Trains it, or what is left of it, and notes commit and machine."""
        made = {"commit": commit(), "machine": machine()}
        slots.train(self.config, self.folder)
        self._note.write_text(json.dumps(made))

    def result(self) -> dict[str, Any] | None:
        """The last evaluation and how it was made; None where the run is not finished.

        `minutes` are those of its steps, without compiling and evaluating, however often it was
        stopped; `steps_per_second` is the median over the records of training.
        """
        if not self._note.exists():
            return None
        records = read_records(self.folder / "metrics.jsonl")
        last = [r for r in records if r["kind"] == "val"][-1]
        rates = [(r["step"], r["steps_per_second"]) for r in records if r["kind"] == "train"]
        spans = itertools.pairwise([(0, 0.0), *rates])
        seconds = sum((end - start) / rate for (start, _), (end, rate) in spans)
        speed = {
            "minutes": seconds / 60,
            "steps_per_second": statistics.median(rate for _, rate in rates),
        }
        return {**last, **json.loads(self._note.read_text()), **speed}


def train_missing(conditions: Iterable[Condition], share: int, of: int) -> None:
    """Trains every `of`-th that is not finished, from number `share` on."""
    for one in list(conditions)[share::of]:
        if one.result() is None:
            print(f"{one.folder}", flush=True)
            one.train()


def finished(conditions: Mapping[_K, Condition]) -> dict[_K, dict[str, Any]]:
    """The results there are."""
    found = {key: one.result() for key, one in conditions.items()}
    return {key: result for key, result in found.items() if result is not None}


def cell(value: dict[str, Any] | None, digits: int) -> str:
    """Mean ± std over seeds; a dash where there is none."""
    if value is None or value["mean"] is None:
        return "–"
    std = value.get("seeds_std")
    return f"{value['mean']:.{digits}f}" + (f" ± {std:.{digits}f}" if std else "")


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
