"""Interleaved timing of training steps, each side in a process of its own.

Sides take turns, a round of steps each, while the others wait in a blocking read. So none disturbs
another's threads or allocator, and what else the machine does falls on all of them alike.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.benchmark.cases import Case


class SideError(RuntimeError):
    """A side could not be built or run; the message is its last line of error."""


@dataclasses.dataclass
class Result:
    """What one side did. Seconds are per step, one value per round."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the side says of itself: compile seconds, memory, choices it made."""
    failure: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Side:
    """A child process that answers one line of JSON with one line."""

    def __init__(self, job: Mapping[str, Any], threads: int, environment: Mapping[str, str]):
        cores = sorted(os.sched_getaffinity(0))[-threads:]  # the first is where others pin
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmark.worker", json.dumps({**job, "cores": cores})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate()
            raise SideError((errors.strip().splitlines() or ["died without a word"])[-1])
        return dict(json.loads(line))

    def ask(self, **message: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is read next
            print(json.dumps(message), file=self.process.stdin, flush=True)
        return self.receive()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def once(
    side: str, case: Case, threads: int, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a side that only answers once has to say (`agreement`, `breakdown`).

    Raises:
        SideError: it failed.
    """
    child = Side(
        {"side": side, "threads": threads, **dataclasses.asdict(case)}, threads, environment or {}
    )
    try:
        return child.receive()
    finally:
        child.stop()


def measure(
    case: Case,
    sides: Sequence[str],
    *,
    threads: int,
    rounds: int,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Result]:
    """Times `sides` in turns.

    Args:
        case: what they train.
        sides: names that `worker` knows.
        threads: cores and threads of each.
        rounds: how often each has its turn.
        seconds: about how long a turn lasts; at least two steps.
        environment: variables of the children.
    """
    results = {side: Result() for side in sides}
    running: dict[str, Side] = {}

    @contextlib.contextmanager
    def noting(side: str) -> Iterator[None]:
        try:
            yield
        except SideError as error:
            results[side].failure = str(error)
            running.pop(side).stop()

    try:
        for side in sides:
            job = {"side": side, "threads": threads, **dataclasses.asdict(case)}
            running[side] = Side(job, threads, environment or {})
            with noting(side):  # one after the other: compiling takes all cores
                results[side].facts = running[side].receive()
        steps = {}
        for side in list(running):
            with noting(side):
                each = running[side].ask(steps=3)["seconds"] / 3
                steps[side] = max(2, round(seconds / each))
        for _ in range(rounds):
            for side in list(running):
                with noting(side):
                    took = running[side].ask(steps=steps[side])["seconds"]
                    results[side].seconds.append(took / steps[side])
        for side in list(running):
            with noting(side):
                results[side].facts |= running[side].ask(steps=0)
    finally:
        for child in running.values():
            child.stop()
    return results
