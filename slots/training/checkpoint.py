"""Checkpoints by Orbax, with checksums of our own and a fall-back to an older one.

Orbax returns flipped bits silently (0.12), so each array's CRC-32 is saved beside it.
"""

import contextlib
import dataclasses
import functools
import inspect
import json
import logging
import math
import shutil
import sys
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from slots.config import ConfigError
from slots.processes import is_first, meet, on_host
from slots.training.rules import named_leaves

log = logging.getLogger("slots")


class RunError(RuntimeError):
    """A run cannot go on or be read; one sentence that says why and what is safe."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save, and what to keep."""

    every: int = 1000
    """Steps between checkpoints; the last step is always saved."""
    keep_latest: int = 2
    """2 or more lets a damaged newest one fall back to the one before."""
    keep_best: int = 1
    """How many of the best by `best_metric` to keep besides; 0 for none."""
    best_metric: str = "fg_ari"
    """A metric of the evaluation; higher is better."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep_latest < 1 or self.keep_best < 0:
            raise ConfigError(
                f"checkpoint.every={self.every} and keep_latest={self.keep_latest} must be at "
                f"least 1, keep_best={self.keep_best} at least 0."
            )


def _flat(state: PyTree) -> dict[str, Any]:
    return {name.replace("/", "."): leaf for name, leaf in named_leaves(state).items()}


def _reason(error: Exception) -> str:
    """The first line of what a library has to say, without its settings and full stop."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    first = first.split(" [tensorstore_spec")[0].split(". See full TensorStore details")[0]
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        first = f"a file that should hold JSON does not ({first})"
    if isinstance(error, KeyError):  # Orbax looked for it in a file that is damaged
        first = f"{first} is missing"
    return first.rstrip(".")


@functools.cache
def _mute_leftovers() -> None:
    """Keeps off stderr what Orbax (0.12) leaves behind when one of several reads or writes fails.

    What went wrong reaches us as an exception. Besides, each thread that it passes reports it with
    a traceback of its own, ten pages for a full disk. The event loop that the others report to is
    closed and their coroutines dropped; each would complain for itself, from another thread and
    late, after we have said what is damaged or could not be written.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        closed = "Event loop is closed" in str(unraisable.exc_value)
        dropped = inspect.iscoroutine(unraisable.object) and "orbax" in inspect.getfile(
            unraisable.object.cr_code
        )
        if not closed and not dropped:
            before(unraisable)

    sys.unraisablehook = hook

    def worth_saying(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        own = "exception was never retrieved" in text and ("orbax" in text or "tensorstore" in text)
        return not own

    logging.getLogger("asyncio").addFilter(worth_saying)
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in Path(record.pathname).parts)
    names = r"coroutine '(_|async_|Store\.).*' was never awaited"
    warnings.filterwarnings("ignore", names, RuntimeWarning)


def _records(arrays: dict[str, Any]) -> dict[str, list[Any]]:
    """Shape, dtype and checksum of each array, as JSON."""
    host = {name: on_host(x) for name, x in arrays.items()}
    return {
        name: [list(x.shape), str(x.dtype), zlib.crc32(np.ascontiguousarray(x).tobytes())]
        for name, x in host.items()
    }


def _ranked(steps: Iterable[int], scores: Mapping[int, float]) -> list[int]:
    """The steps that have a score, best last; of equals the newest."""
    return sorted((s for s in steps if s in scores), key=lambda s: (scores[s], s))


class _Keep:
    """Which checkpoints Orbax preserves: the newest and the best.

    Orbax's own policy (0.12) deletes the best one when it meets a NaN, and a damaged metrics file
    keeps it from opening the folder; so the scores stand in our records.
    """

    def __init__(self, config: CheckpointConfig, scores: Mapping[int, float]):
        self.config, self.scores = config, scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = sorted(c.step for c in checkpoints)
        best = _ranked(steps, self.scores)[::-1][: self.config.keep_best]
        kept = {*steps[-self.config.keep_latest :], *best}
        return [c.step in kept for c in checkpoints]


class Checkpoints:
    """The checkpoints of one run: asynchronous, atomic, newest and best kept."""

    def __init__(self, folder: Path, config: CheckpointConfig | None = None):
        """Opens `folder`; without `config` for reading only."""
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax reports each phase of a save
        self.folder = folder.absolute()
        self.writable = config is not None
        self._scores: dict[int, float] = {}
        options: dict[str, Any] = {"read_only": True, "create": False}
        if config is not None:
            options = {
                "create": True,
                "preservation_policy": _Keep(config, self._scores),
                "enable_async_checkpointing": True,
            }
        elif not self.folder.is_dir():
            raise RunError(f"{self.folder} has no checkpoints.")
        _mute_leftovers()
        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_names=("arrays", "records"),
            options=ocp.CheckpointManagerOptions(**options),
        )
        for step in self.steps():
            with contextlib.suppress(Exception):  # a damaged one shows when it is restored
                self._note(step, self._load(step, "records", ocp.args.JsonRestore())["score"])

    def save(self, step: int, state: PyTree, score: float | None = None) -> None:
        """Starts saving `state`; returns once the arrays are copied.

        Args:
            step: updates made; must be newer than what is saved.
            state: any pytree of arrays.
            score: value of the metric that decides what is best; NaN counts as none.

        Raises:
            RunError: this save, or the one before it that was still under way, failed.
        """
        if step in self._manager.all_steps():
            return
        arrays = _flat(state)
        if score is not None and not math.isfinite(score):
            score = None  # JSON has no NaN
        records = {"score": score, "arrays": _records(arrays)}
        self._note(step, score)
        try:
            self._manager.save(
                step,
                args=self._ocp.args.Composite(
                    arrays=self._ocp.args.StandardSave(arrays),
                    records=self._ocp.args.JsonSave(records),
                ),
                force=True,
            )
        except (ValueError, OSError) as error:
            raise self._failed(step, error) from error

    def wait(self) -> None:
        """Returns when all saves are on disk.

        Raises:
            RunError: one of them failed.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except (ValueError, OSError) as error:
            raise self._failed(None, error) from error

    def _failed(self, step: int | None, error: Exception) -> RunError:
        full = "RESOURCE_EXHAUSTED" in str(error) or "No space left" in str(error)
        limited = "File too large" in str(error)
        reason = "File too large" if limited else _reason(error)
        reason = "the disk is full" if full else reason
        what = "A checkpoint" if step is None else f"The checkpoint of step {step}, or one before,"
        kept = [s for s in self.steps() if s != step]
        left = f"step {kept[0]} is kept" if kept else "no checkpoint was finished before it"
        return RunError(f"{what} could not be saved in {self.folder}: {reason}; {left}.")

    def close(self) -> None:
        """Waits, and releases Orbax's threads."""
        self.wait()
        self._manager.close()

    def steps(self) -> list[int]:
        """Saved steps, newest first."""
        return sorted(self._manager.all_steps(read=True), reverse=True)

    def best(self) -> int | None:
        """The saved step with the best metric; None where none was measured."""
        ranked = _ranked(self.steps(), self._scores)
        return ranked[-1] if ranked else None

    def checksums(self) -> dict[str, int]:
        """Of the newest checkpoint's arrays, by name.

        Raises:
            RunError: there is none, or its records can't be read.
        """
        if not (steps := self.steps()):
            raise RunError(f"{self.folder} has no finished checkpoint.")
        try:
            records = self._load(steps[0], "records", self._ocp.args.JsonRestore())["arrays"]
            return {name: int(total) for name, (_, _, total) in records.items()}
        except Exception as error:  # whatever the damage provoked
            raise RunError(f"Checkpoint {steps[0]} in {self.folder}: {_reason(error)}.") from error

    def restore(self, target: PyTree, step: int | None = None) -> tuple[PyTree, int]:
        """The newest sound checkpoint, or that of `step`.

        Damaged ones are reported and passed over. Once an older one is found sound and the folder
        is open for writing, they are moved to `damaged/` beside it, so that later saves are not
        taken for old ones; where none is sound, all stay in place.

        Args:
            target: abstract state (shapes, dtypes, shardings); the mesh may differ from the saved.
            step: this one and no other.

        Raises:
            RunError: there is none, none is sound, or they belong to another model.
        """
        steps = self.steps()
        if not steps:
            raise RunError(f"{self.folder} has no finished checkpoint.")
        if step is not None and step not in steps:
            raise RunError(f"{self.folder} has no checkpoint of step {step}; it has {steps}.")
        tried = steps if step is None else [step]
        reasons: dict[int, str] = {}
        mismatch: RunError | None = None
        for candidate in tried:
            try:
                state = self._read(candidate, target)
            except RunError as error:
                reasons[candidate] = _reason(error)
                mismatch = mismatch or error
            # Orbax raises whatever the damaged file provoked: ValueError, KeyError, bare Exception.
            except Exception as error:
                reasons[candidate] = _reason(error)
            else:
                for damaged, reason in reasons.items():
                    log.warning("Checkpoint %d is damaged and passed over: %s", damaged, reason)
                    self._set_aside(damaged)
                return state, candidate
        if mismatch is not None:
            raise mismatch
        raise RunError(
            f"No checkpoint in {self.folder} is sound (tried {tried}): {reasons[tried[0]]}."
        )

    def _read(self, step: int, target: PyTree) -> PyTree:
        arrays = _flat(target)
        records = self._load(step, "records", self._ocp.args.JsonRestore())["arrays"]
        for name, leaf in arrays.items():
            saved = records.get(name)
            if saved is None or tuple(saved[0]) != leaf.shape or saved[1] != str(leaf.dtype):
                found = "nothing" if saved is None else f"{saved[1]}{saved[0]}"
                raise RunError(
                    f"Checkpoint {step} in {self.folder} is of another configuration: "
                    f"{name} should be {leaf.dtype}{list(leaf.shape)}, it holds {found}."
                )
        surplus = sorted(set(records) - set(arrays))
        if surplus:
            raise RunError(
                f"Checkpoint {step} in {self.folder} is of another configuration: "
                f"it holds {surplus[0]}, which this one has not."
            )
        restored = self._load(step, "arrays", self._ocp.args.StandardRestore(arrays))
        for name, record in _records(restored).items():
            if record != records[name]:
                raise ValueError(f"{name} does not have the checksum it was saved with")
        return jax.tree.unflatten(jax.tree.structure(target), [restored[name] for name in arrays])

    def _load(self, step: int, item: str, how: Any) -> Any:
        """One item of a checkpoint; raises whatever damage provokes."""
        return self._manager.restore(step, args=self._ocp.args.Composite(**{item: how}))[item]

    def _note(self, step: int, score: float | None) -> None:
        self._scores.pop(step, None)
        if score is not None:
            self._scores[step] = float(score)

    def _set_aside(self, step: int) -> None:
        if not self.writable:
            return
        if is_first():
            aside = self.folder.parent / "damaged"
            aside.mkdir(exist_ok=True)
            place = aside / str(step)
            shutil.rmtree(place, ignore_errors=True)
            shutil.move(self.folder / str(step), place)
        meet(f"checkpoint {step} set aside")
        self._manager.reload()
