"""What a run has written, read from outside, and what two runs have not in common."""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

import slots
from slots.config import from_data
from slots.experiment import ExperimentConfig
from slots.training import CheckpointConfig, Checkpoints, RunError, read_records

_TIMES = ("steps_per_second", "images_per_second")


def last_step(run: Path) -> int:
    """The last step in `metrics.jsonl`; its end alone is read, for it is asked often."""
    try:
        with (run / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().split(b"\n")[:-1]
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (OSError, ValueError):
        return 0


def unfinished(run: Path) -> list[Path]:
    """Temporary folders of checkpoints."""
    folder = run / "checkpoints"
    return [path for path in folder.glob("*") if not path.name.isdigit()]


def saved(run: Path) -> list[int]:
    """Steps of the finished checkpoints, newest first."""
    found = (int(p.name) for p in (run / "checkpoints").glob("*") if p.name.isdigit())
    return sorted(found, reverse=True)


def restored(run: Path, step: int | None = None, *, writable: bool = False) -> tuple[Any, int]:
    """State and step of a checkpoint (None: the newest sound one), read back by this process."""
    checkpoints = Checkpoints(run / "checkpoints", CheckpointConfig() if writable else None)
    try:
        return checkpoints.restore(_shapes((run / "config.json").read_text()), step)
    finally:
        checkpoints.close()


@functools.cache
def _shapes(settings: str) -> Any:
    config = from_data(ExperimentConfig, json.loads(settings), "config.json")
    return slots.build(config).trainer.abstract_state()


def digest(state: Any) -> str:
    """Of all bits of a state."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(state))]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def differences(run: Path, other: Path) -> list[str]:
    """What the ends of two runs have not in common: arrays of the state, and records.

    Every array of the final state counts: parameters, their average, the optimizer's, counters.
    """
    found = []
    try:
        if restored(run)[1] != saved(other)[0]:
            found.append(f"it ended at step {saved(run)[0]}, not {saved(other)[0]}")
        one, two = (Checkpoints(r / "checkpoints").checksums() for r in (run, other))
    except RunError as error:
        return [str(error)]
    found += [
        f"{name} ended otherwise" for name in sorted({*one, *two}) if one.get(name) != two.get(name)
    ]
    return found[:1] + _other_records(run, other)


def _other_records(run: Path, other: Path) -> list[str]:
    """Whether each step is in `metrics.jsonl` once, with the same values."""
    one, two = (
        [{k: v for k, v in r.items() if k not in _TIMES} for r in read_records(r / "metrics.jsonl")]
        for r in (run, other)
    )
    if [(r["step"], r["kind"]) for r in one] != [(r["step"], r["kind"]) for r in two]:
        return ["metrics.jsonl has other steps"]
    changed = [r["step"] for r, s in zip(one, two, strict=True) if r != s]
    return [f"metrics.jsonl differs at step {changed[0]}"] if changed else []
