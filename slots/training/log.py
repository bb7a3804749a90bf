"""What a run writes while it trains: `metrics.jsonl`, TensorBoard files, a progress line."""

import contextlib
import dataclasses
import io
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from slots.config import ConfigError
from slots.files import finite_or_none, write_whole, writing
from slots.processes import is_first, meet


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
    """How often to report, and where to."""

    every: int = 100
    """Steps between lines of metrics."""
    tensorboard: bool = True
    """Writes event files to `tensorboard/` in the run folder."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"log.every={self.every} must be at least 1.")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`: objects with an integer `step` and a text `kind`.

    Other lines, such as a last one that a kill cut short, are left out.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # no JSON, no text, too deep, too long a number
            continue
        if _is_record(record):
            records.append(record)
    return records


def _is_record(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        return False
    verdicts = found.get("verdicts", [])
    sound = isinstance(verdicts, list) and all(_is_verdict(verdict) for verdict in verdicts)
    return sound and type(found.get("step")) is int and found["step"] >= 0


def _is_verdict(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == {"name", "reason", "warning"}
        and isinstance(found["name"], str)
        and isinstance(found["reason"], str)
        and isinstance(found["warning"], str | None)
    )


class _Events:
    """A file of TensorBoard's events, written by whoever calls.

    The writer that tensorboardX (2.6) brings has a thread for it: a full disk ends that thread with
    a traceback, and the eleventh number after it waits for ever.
    """

    _SECONDS = 120
    """Between two times that what was written is sure to be on disk."""

    def __init__(self, folder: Path, step: int):
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._event = Event
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._path = folder / name
        with writing(self._path):
            folder.mkdir(exist_ok=True)
            self._file = RecordWriter(str(self._path))
        self._flushed = time.monotonic()
        self._add(file_version="brain.Event:2")
        if step:  # points that an earlier session wrote past the restored step are hidden
            self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers by the names of their curves."""
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import scalar

        values = [value for name, x in numbers.items() for value in scalar(name, x).value]
        self._add(step=step, summary=Summary(value=values))
        if time.monotonic() - self._flushed > self._SECONDS:
            with writing(self._path):
                self._file.flush()
            self._flushed = time.monotonic()

    def _add(self, **fields: Any) -> None:
        with writing(self._path):
            self._file.write(self._event(wall_time=time.time(), **fields).SerializeToString())

    def close(self) -> None:
        with writing(self._path):
            self._file.close()


class MetricsLog:
    """Appends records to `metrics.jsonl` and TensorBoard.

    On resume, lines past the restored step are dropped, so that each step stands there once. Of
    several processes the first one writes; all know the records of evaluations.
    """

    def __init__(self, folder: Path, config: LogConfig, *, step: int):
        self._path = path = folder / "metrics.jsonl"
        kept = [r for r in read_records(path) if r.get("step", 0) <= step]
        self.evaluations = [r for r in kept if r["kind"] != "train"]
        meet("metrics read")
        self._file: TextIO | None = None
        self._events: _Events | None = None
        if not is_first():
            return
        write_whole(path, "".join(json.dumps(r) + "\n" for r in kept))
        self._file = path.open("a")
        if config.tensorboard:
            try:
                self._events = _Events(folder / "tensorboard", step)
            except OSError:
                self._file.close()
                raise

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """One record: step, kind (`train` or a split's name) and values.

        A value is a number, or a group with a `mean`, and with the numbers of all `members` where
        there are several; TensorBoard shows these as `name/0`, `name/1`, ...
        """
        clean = finite_or_none(values)
        record = {"step": step, "kind": kind, **clean}
        if kind != "train":
            self.evaluations.append(record)
        if self._file is None:
            return
        with writing(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if self._events is None:
            return
        curves: dict[str, float] = {}
        for name, value in clean.items():
            numbers = {name: value}
            if isinstance(value, Mapping):
                members = enumerate(value.get("members", ()))
                numbers = {name: value.get("mean"), **{f"{name}/{i}": v for i, v in members}}
            for label, number in numbers.items():
                if isinstance(number, int | float):
                    curves[f"{kind}/{label}"] = number
        self._events.write(step, curves)

    def close(self) -> None:
        """Flushes and closes the files."""
        try:
            if self._file is not None:
                with writing(self._path):
                    self._file.close()
        finally:
            if self._events is not None:
                self._events.close()


class Progress:
    """One line with step, loss, steps/s, images/s (of all members) and time left."""

    def __init__(self, total: int, images: int, *, start: int, out: TextIO | None = None):
        self.total, self.images = total, images
        self.out = out or (sys.stderr if is_first() else io.StringIO())
        self._last_step, self._last_time = start, time.perf_counter()
        self._open = False

    def show(self, step: int, loss: float, std: float | None = None) -> dict[str, float]:
        """Prints the line; on a terminal it stays in place.

        Args:
            step: updates made.
            loss: of the last one.
            std: of the members' losses, where there are several.

        Returns:
            `steps_per_second` and `images_per_second` since the last call.
        """
        now = time.perf_counter()
        rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_step, self._last_time = step, now
        left = (self.total - step) / rate if rate > 0 else 0.0
        spread = "" if std is None else f" ± {std:.5f}"
        line = (
            f"step {step:,}/{self.total:,} | loss {loss:.5f}{spread} | {rate:.1f} steps/s | "
            f"{rate * self.images:,.0f} images/s | {clock(left)} left"
        )
        in_place = self.out.isatty()
        print(f"\r{line}\x1b[K" if in_place else line, end="" if in_place else "\n", file=self.out)
        self.out.flush()
        self._open = in_place
        return {"steps_per_second": rate, "images_per_second": rate * self.images}

    def say(self, text: str) -> None:
        """A line of its own, below the progress line."""
        print(("\n" if self._open else "") + text, file=self.out, flush=True)
        self._open = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves what happens inside out of the rates."""
        start = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - start


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    total = round(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
