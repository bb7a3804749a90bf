"""A grid or list of settings, each trained and scored, in one table with the best of them.

The folder holds `sweep.json` (what is swept), one run a point in `runs/`, one record a finished
point in `records/`, and `table.md`. A point that has its record is done; one that was stopped goes
on from its newest checkpoint. Any number of processes can share a sweep: each leaves alone what
another is at, and whoever finishes a point renews the table.
"""

import dataclasses
import itertools
import json
import math
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slots.conditions import Condition, cell, table
from slots.config import ConfigError
from slots.evaluation import over_seeds
from slots.evaluation.evaluation import measured_by
from slots.files import write_whole
from slots.run_folder import Busy
from slots.training import Interrupted, RunError

SWEEP, TABLE, ARRAY = "sweep.json", "table.md", "array.sh"
SEEDS = ("train.seed", "data.seed")
"""Points that differ in these alone share a row."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is swept."""

    folder: Path
    preset: str
    settings: tuple[str, ...]
    """Of all points."""
    points: tuple[tuple[str, ...], ...]
    """Further settings of each."""
    by: str
    """The metric that says which is best; with a minus in front, the lower the better."""

    def conditions(self) -> list[Condition]:
        """The points' runs, in order."""
        found = []
        for number, point in enumerate(self.points):
            name = f"{number:04d}"
            place, record = self.folder / "runs" / name, self.folder / "records" / f"{name}.json"
            found.append(Condition(self.preset, (*self.settings, *point), place, record))
        return found

    def save(self) -> None:
        """Writes `sweep.json`.

        Raises:
            ConfigError: the folder holds another sweep.
        """
        place = self.folder / SWEEP
        if place.exists() and read(self.folder) != self:
            raise ConfigError(
                f"{self.folder} holds another sweep; go on with it by `slots sweep {self.folder}`, "
                "or say another out=DIR."
            )
        values = {k: v for k, v in dataclasses.asdict(self).items() if k != "folder"}
        write_whole(place, json.dumps(values, indent=2) + "\n")


def grid(assignments: Iterable[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Settings given once, and all combinations of those whose key is given several times."""
    values: dict[str, list[str]] = {}
    for assignment in assignments:
        found = values.setdefault(assignment.partition("=")[0], [])
        if assignment not in found:
            found.append(assignment)
    once = tuple(found[0] for found in values.values() if len(found) == 1)
    return once, list(itertools.product(*(found for found in values.values() if len(found) > 1)))


def listed(path: Path) -> list[tuple[str, ...]]:
    """Points of a file: on every line the settings of one; `#` begins a remark.

    Raises:
        ConfigError: the file can't be read, or has no point.
    """
    try:
        lines = [shlex.split(line, comments=True) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read as a list of settings ({error}).") from error
    if not (points := [tuple(line) for line in lines if line]):
        raise ConfigError(f"{path} lists no settings.")
    return points


def read(folder: Path) -> Sweep:
    """The sweep of a folder.

    Raises:
        ConfigError: there is none, or its file is damaged.
    """
    place = folder / SWEEP
    try:
        values = json.loads(place.read_text())
        points = tuple(tuple(map(str, point)) for point in values["points"])
        settings = tuple(map(str, values["settings"]))
        return Sweep(folder, str(values["preset"]), settings, points, str(values["by"]))
    except OSError as error:
        raise ConfigError(f"{folder} holds no sweep ({SWEEP} can't be read).") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(f"{place} is damaged ({error}).") from error


def check(sweep: Sweep) -> None:
    """Builds every point's settings.

    Raises:
        ConfigError: one has a misspelt key or a value that does not fit.
    """
    for condition in sweep.conditions():
        condition.config  # noqa: B018


def run(sweep: Sweep, only: int | None = None) -> dict[int, str]:
    """Trains and scores what is neither finished nor at work, and renews the table after each.

    Args:
        sweep: which.
        only: the number of a point; None for all.

    Returns:
        What went wrong with which point; the others were run nevertheless.

    Raises:
        ConfigError: there is no such point.
        Interrupted: SIGTERM or SIGINT; the point's run was saved.
    """
    conditions = sweep.conditions()
    if only is not None and only >= len(conditions):
        raise ConfigError(f"task={only} should be from 0 to {len(conditions) - 1}.")
    failed = {}
    for number in range(len(conditions)) if only is None else [only]:
        if conditions[number].result() is not None:
            continue
        told = f"Point {number}: {' '.join(sweep.points[number])}"
        print(told, file=sys.stderr)
        try:
            conditions[number].train()
        except Interrupted:
            raise
        except Busy:
            print(f"{told}, at which another process is", file=sys.stderr)
            continue
        except (ConfigError, RunError) as error:
            failed[number] = str(error)
        gather(sweep)
    return failed


def gather(sweep: Sweep) -> str:
    """The table of what is finished, which is also written to the folder."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for point, condition in zip(sweep.points, sweep.conditions(), strict=True):
        row = tuple(a for a in point if a.partition("=")[0] not in SEEDS)
        result = condition.result()
        groups.setdefault(row, []).extend([] if result is None else [result])
    metric = sweep.by.removeprefix("-")
    scores = {row: _over(results, metric)["mean"] for row, results in groups.items()}
    known = [row for row, score in scores.items() if math.isfinite(score)]
    sign = -1 if sweep.by.startswith("-") else 1
    best = max(known, key=lambda row: sign * scores[row], default=None)
    names = _metrics(metric, groups.values())
    keys = list(dict.fromkeys(a.partition("=")[0] for row in groups for a in row))
    rows = []
    for row, results in groups.items():
        values = dict(a.split("=", 1) for a in row)
        cells = [cell(_over(results, name), 4) for name in names]
        mark = " **best**" if row == best else ""
        rows.append([*(values.get(key, "") for key in keys), *cells, _told(results) + mark])
    done = sum(map(len, groups.values()))
    lines = [
        f"`{' '.join([sweep.preset, *sweep.settings])}`: {done} of {len(sweep.points)} points "
        f"done, best by {sweep.by}.",
        "",
        table([*keys, *names, "measured by"], rows),
    ]
    if best is not None:
        words = [sweep.preset, *sweep.settings, *best]
        lines += ["", f"The best one: `slots train {shlex.join(words)}`"]
    text = "\n".join(lines)
    write_whole(sweep.folder / TABLE, text + "\n")
    return text


def _over(results: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    """Mean and deviation of a metric over all seeds of a row."""
    values: list[float] = []
    for result in results:
        found = result.get(name)
        if isinstance(found, Mapping) and found.get("mean") is not None:
            values += found.get("members") or [found["mean"]]
    mean, spread = over_seeds([float(value) for value in values])
    return {"mean": mean, "seeds_std": 0.0 if math.isnan(spread) else spread}


def _told(results: Sequence[Mapping[str, Any]]) -> str:
    """What stands behind the scores of a row, seeds that were measured alike in one."""
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        alike.setdefault(measured_by(result, ()), []).append(result)
    return "; ".join(
        measured_by(same[0], [seed for result in same for seed in result["seeds"]])
        for same in alike.values()
    )


def _metrics(first: str, groups: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Those of the table: the one that decides, and what else is commonly looked at."""
    there = {name for results in groups for result in results for name in result}
    common = ("fg_ari", "ari", "mbo", "mse_mean", "ap_0.5", "accuracy")
    return list(dict.fromkeys([first, *(name for name in common if name in there)]))


def array_script(sweep: Sweep, program: str) -> Path:
    """Writes the SLURM array that runs one point a task, and says where.

    Args:
        sweep: which.
        program: how the command `slots` is called.
    """
    folder = sweep.folder.absolute()
    lines = [
        "#!/bin/bash",
        "# One point of the sweep a task. Add what the cluster wants: partition, time, GPUs.",
        f"#SBATCH --job-name=slots-{folder.name}",
        f"#SBATCH --array=0-{len(sweep.points) - 1}",
        f"#SBATCH --output={folder}/task-%a.log",
        f"cd {shlex.quote(os.getcwd())}",
        f'{program} sweep {shlex.quote(str(folder))} task="$SLURM_ARRAY_TASK_ID"',
    ]
    write_whole(folder / ARRAY, "\n".join(lines) + "\n")
    return folder / ARRAY
