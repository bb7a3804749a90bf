"""The runs a comparison is made of: trained, gone on with, or read back where finished."""

import dataclasses
import functools
import itertools
import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from slots import presets, runs
from slots.config import ConfigError, override
from slots.experiment import ExperimentConfig
from slots.files import write_whole
from slots.provenance import commit, machine
from slots.training import read_records

_K = TypeVar("_K")


@dataclasses.dataclass(frozen=True)
class Condition:
    """A run of several seeds in `folder`, and the record of its result and of how it was made.

    The record is what a comparison reads: it is small, and stands with the results in the
    repository, so that other machines go on from it without the run.
    """

    preset: str
    settings: tuple[str, ...]
    folder: Path
    record: Path

    @functools.cached_property
    def config(self) -> ExperimentConfig:
        """The preset's, with the settings."""
        return override(presets.load(self.preset), self.settings)

    @property
    def _origin(self) -> dict[str, Any]:
        return {"preset": self.preset, "settings": list(self.settings)}

    def train(self) -> None:
        """Trains it, or what is left of it, and writes the record."""
        seeds = list(self.config.train.member_seeds)
        made = {**self._origin, "seeds": seeds, "commit": commit(), "machine": machine()}
        runs.train(self.config, self.folder)
        write_whole(self.record, json.dumps({**made, **self._measured()}) + "\n")

    def _measured(self) -> dict[str, Any]:
        """The last evaluation.

        `minutes` are those of its steps, without compiling and evaluating, however often it was
        stopped; `steps_per_second` is the median over the records of training.
        """
        records = read_records(self.folder / "metrics.jsonl")
        last = [r for r in records if r["kind"] == "val"][-1]
        rates = [(r["step"], r["steps_per_second"]) for r in records if r["kind"] == "train"]
        spans = itertools.pairwise([(0, 0.0), *rates])
        seconds = sum((end - start) / rate for (start, _), (end, rate) in spans)
        rate = statistics.median(rate for _, rate in rates)
        return {**last, "minutes": seconds / 60, "steps_per_second": rate}

    def result(self) -> dict[str, Any] | None:
        """What was recorded; None where the run is not finished.

        Raises `ConfigError` where the record is damaged, or was made from another preset or with
        other settings.
        """
        if not self.record.exists():
            return None
        try:
            found = json.loads(self.record.read_text())
        except (ValueError, RecursionError):
            found = None
        if not _is_record(found):
            raise ConfigError(
                f"{self.record} is damaged: remove it, and it is made again from the run."
            )
        if {name: found[name] for name in self._origin} != self._origin:
            was = " ".join([found["preset"], *found["settings"]])
            now = " ".join([self.preset, *self.settings])
            raise ConfigError(
                f"{self.record} was made by `{was}`, not `{now}`: remove it, or say --out FOLDER."
            )
        return dict(found)


def _is_record(found: Any) -> bool:
    """Whether it has what tables are made of."""
    if not isinstance(found, dict) or not isinstance(found.get("preset"), str):
        return False
    scores = [value for value in found.values() if isinstance(value, dict)]
    return (
        _is_list(found.get("settings"), lambda one: isinstance(one, str))
        and _is_list(found.get("seeds"), _is_number)
        and all(score.get("mean") is None or _is_number(score["mean"]) for score in scores)
        and all(_is_list(score.get("members", []), _is_number) for score in scores)
    )


def _is_list(found: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(found, list) and all(map(fits, found))


def _is_number(found: Any) -> bool:
    """One that a float can hold."""
    return isinstance(found, float) or (isinstance(found, int) and abs(found) < 2**1023)


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


def write_table(path: Path, text: str) -> None:
    """Prints it, and writes it to a file."""
    print(text)
    path.write_text(text + "\n")


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
