"""Runs a target on many bad inputs, each within limits of time and memory."""

import contextlib
import dataclasses
import os
import resource
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .targets import Target

SECONDS = 20
"""What one input may take."""
GIBIBYTES = 1.0
"""By how much memory may grow over all inputs of a target, after a few to warm up."""
_WARM = 20


@dataclasses.dataclass
class Result:
    """Of the inputs to one target."""

    name: str
    inputs: int = 0
    refused: int = 0
    taken: int = 0
    """Damage that does no harm, such as a name of other letters in a remark."""
    seconds: float = 0.0
    """The longest of one."""
    growth: float = 0.0
    """Of the most memory held, in GiB."""


class Broken(AssertionError):
    """An input that should have been refused in one sentence was not."""


def attempt(target: Target, count: int, seed: int = 0) -> Result:
    """Gives `count` bad inputs to a target.

    Raises:
        Broken: with the number of the input, from which it can be made again.
    """
    result = Result(target.name)
    with tempfile.TemporaryDirectory() as place, _inside(Path(place)):
        state = target.prepare(Path(place))
        memory = 0.0
        for number in range(count):
            _one(target, state, np.random.default_rng((seed, number)), number, result)
            memory = memory if number > min(_WARM, count - 2) else _peak()
            if _peak() - memory > GIBIBYTES:
                raise Broken(
                    f"{target.name}, input {number}: memory grew by {_peak() - memory:.1f}"
                )
        result.growth = _peak() - memory
    return result


def _one(target: Target, state: Any, rng: np.random.Generator, number: int, result: Result) -> None:
    begun = time.perf_counter()
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy and PIL, about the damage
            target.attempt(state, rng)
        result.taken += 1
    except target.refusals as error:
        text = str(error)
        if not text or "\n" in text.strip() or "Traceback" in text:
            raise Broken(f"{target.name}, input {number}: not one sentence: {text!r}") from error
        result.refused += 1
    except Exception as error:
        raise Broken(f"{target.name}, input {number}: {type(error).__name__}: {error}") from error
    result.inputs += 1
    result.seconds = max(result.seconds, time.perf_counter() - begun)


def _peak() -> float:
    """The most memory this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def over(*_: Any) -> None:
        raise Broken(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _inside(place: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)
