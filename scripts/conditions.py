"""The runs a comparison is made of: trained, gone on with, or read back where finished."""

import dataclasses
import json
import time
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
        """Trains it, or what is left of it, and notes commit, machine and minutes."""
        fresh = not self.folder.exists()
        made: dict[str, Any] = {"commit": commit(), "machine": machine()}
        start = time.perf_counter()
        slots.train(self.config, self.folder)
        made["minutes"] = (time.perf_counter() - start) / 60 if fresh else None
        self._note.write_text(json.dumps(made))

    def result(self) -> dict[str, Any] | None:
        """The last evaluation and how it was made; None where the run is not finished."""
        if not self._note.exists():
            return None
        last = [r for r in read_records(self.folder / "metrics.jsonl") if r["kind"] == "val"][-1]
        return {**last, **json.loads(self._note.read_text())}


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


def minutes(result: dict[str, Any]) -> str:
    """Of training, where it was not interrupted."""
    return "–" if result["minutes"] is None else f"{result['minutes']:.1f}"


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
