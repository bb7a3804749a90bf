"""A run's folder: whose it is, what stands in it before training, and who may train there."""

import contextlib
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slots.config import ConfigError, from_data, leaves, to_data
from slots.evaluation import Evaluation
from slots.experiment import ExperimentConfig
from slots.files import taken, write_whole, writing
from slots.processes import first_says, highest, is_first, meet
from slots.training import RunError

_LOCK = ".lock"
"""A run folder's file that the process which trains there holds."""

_FREE = ("eval.collapse", "eval.max_restarts")
"""Settings that change no number, so that a run may go on with others."""


class Busy(RunError):
    """Another process, or another job of several, trains in the folder."""


def default_folder(name: str) -> Path:
    """`runs/<name>-<time>`."""
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / first_says(f"{name.replace('/', '-')}-{time}")


def read_config(folder: Path) -> ExperimentConfig:
    """The settings a run folder was trained with.

    Raises:
        ConfigError: there is no readable `config.json`.
    """
    path = folder / "config.json"
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{folder} is no run folder: it has no config.json.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.") from error
    return from_data(ExperimentConfig, data, "config.json")


def check_folder(folder: Path, config: ExperimentConfig) -> None:
    """Refuses a folder that holds another experiment; more steps make no other experiment.

    Raises:
        ConfigError: it does, or it holds something else than a run.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"run={folder} is a file, not a folder.")
    if not (folder / "config.json").exists():
        # A kill while the settings are written leaves their temporary file, the first of a run.
        own = {*collapsed_runs(folder), folder / _LOCK, *folder.glob("config.json.*.tmp")}
        if folder.is_dir() and set(folder.iterdir()) - own:
            raise ConfigError(f"run={folder} is not empty and not a run; choose another folder.")
        return
    saved = read_config(folder)
    before, now = dict(leaves(saved)), dict(leaves(config))
    for key in {**before, **now}:
        if key in _FREE or (key == "train.steps" and now[key] >= before[key]):
            continue
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"run={folder} holds another experiment: {key} is {before.get(key)!r} there and "
                f"{now.get(key)!r} here; only train.steps may be raised "
                f"(and {' and '.join(_FREE)} be changed)."
            )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps others from training in `folder`.

    Raises:
        Busy: in all processes of this job.
    """
    lock = taken(folder / _LOCK) if is_first() else contextlib.nullcontext(True)
    with lock as mine:
        if highest(int(not mine)):
            raise Busy(
                f"Another process trains in {folder}; wait for it to end, or name another folder "
                "with run=."
            )
        yield


def write_header(folder: Path, config: ExperimentConfig, parameters: str) -> None:
    """Settings, package versions and the parameter table, before step 0."""
    if not is_first():
        return
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")
    versions = {name: importlib.metadata.version(name) for name in ("slots", *names)}
    versions |= {"python": platform.python_version(), "platform": platform.platform()}
    versions["devices"] = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    write_whole(folder / "config.json", json.dumps(to_data(config), indent=2) + "\n")
    write_whole(folder / "versions.json", json.dumps(versions, indent=2) + "\n")
    write_whole(folder / "parameters.txt", parameters + "\n")


def save_values(folder: Path, name: str, result: Evaluation) -> None:
    """Writes the per-example values to `evaluations/<name>.npz`."""
    if not is_first():
        return
    place = folder / "evaluations"
    arrays: dict[str, Any] = dict(result.per_example)
    with writing(place / f"{name}.npz"):
        place.mkdir(exist_ok=True)
        np.savez_compressed(place / f"{name}.npz", **arrays)


def collapsed_runs(folder: Path) -> list[Path]:
    """Runs in `folder` that were set aside."""
    return sorted(folder.glob("collapsed-*"))


def set_aside(folder: Path, seed: int) -> None:
    """Moves a collapsed run into `collapsed-<seed>`, or what a kill left of it.

    Raises:
        Busy: another process trains there, or does the same.
    """
    with alone(folder):
        meet("all know what is set aside")
        if is_first():
            aside = folder / f"collapsed-{seed}"
            aside.mkdir(exist_ok=True)
            own = set(folder.iterdir()) - {*collapsed_runs(folder), folder / _LOCK}
            # The settings go last: as long as they are there, it is not done.
            for path in sorted(own, key=lambda path: path.name == "config.json"):
                path.rename(aside / path.name)
        meet("set aside")
