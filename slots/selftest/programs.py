"""Checks that start programs of their own: a run that is killed, two processes on this machine.

They come before this process uses JAX: a GPU's memory is then free for them, and a TPU is free at
all.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from slots.selftest.outcome import Outcome
from slots.training import Checkpoints

_SECONDS = 900
"""Whatever takes longer hangs."""
_SHORT = (
    "train.steps=6",
    "checkpoint.every=2",
    "eval.every=1000000",
    "eval.count=16",
    "log.every=1",
    "log.tensorboard=false",
)
"""A run that is over soon and is saved on the way."""


class _Failed(Exception):
    """A program did not do what it should."""


def check_restart(target: str, settings: Sequence[str]) -> Outcome:
    """A run that is killed after its first checkpoint ends as one that is not."""
    with tempfile.TemporaryDirectory(prefix="slots-selftest-") as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        train = ["train", target, *settings, *_SHORT]
        try:
            _finish(_start([*train, f"run={whole}"]))
            step = _kill([*train, f"run={killed}"], killed / "checkpoints")
            _finish(_start(["train", str(killed)]))
        except _Failed as error:
            return Outcome("restart", False, str(error))
        one, other = (Checkpoints(run / "checkpoints").checksums() for run in (whole, killed))
    changed = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    if changed:
        return Outcome("restart", False, f"killed after step {step}, {changed[0]} ended otherwise")
    told = f"killed after step {step} and gone on with, {len(one)} arrays end with the same bits"
    return Outcome("restart", True, told)


def check_pair(target: str, settings: Sequence[str]) -> Outcome:
    """Two processes with two CPU devices each make the checks of `checks.py` together."""
    pair = [f"coordinator=localhost:{free_port()}", "processes=2", "mesh.cpu_devices=2"]
    kept = [setting for setting in settings if not setting.startswith("mesh.")]
    words = ["selftest", target, *kept, *pair, "--json"]
    started = [_start([*words, f"process={i}"], JAX_PLATFORMS="cpu") for i in range(2)]
    try:
        said = [_output(process) for process in started]
    finally:
        for process in started:
            process.kill()
    lines = [line for line in said[0].splitlines() if line.startswith("{")]
    found = [Outcome(**json.loads(line)) for line in lines]
    bad = [outcome for outcome in found if not outcome.ok]
    if bad:
        return Outcome("processes", False, f"of two on this machine, {bad[0].name}: {bad[0].told}")
    if any(process.returncode for process in started) or not found:
        told = f"of two on this machine, one ended with: {_last(said)}"
        return Outcome("processes", False, told)
    names = ", ".join(outcome.name for outcome in found)
    return Outcome("processes", True, f"two on this machine agree on {names}")


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def _start(words: Sequence[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "slots", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def _output(process: "subprocess.Popen[str]") -> str:
    try:
        return process.communicate(timeout=_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return f"{process.communicate()[0]}\nstopped after {_SECONDS} seconds"


def _finish(process: "subprocess.Popen[str]") -> None:
    said = _output(process)
    if process.returncode:
        raise _Failed(f"a short run ended with: {_last([said])}")


def _kill(words: Sequence[str], checkpoints: Path) -> int:
    """Starts a run and kills it; the step of the checkpoint that it left."""
    process = _start(words)
    begun = time.monotonic()
    while not (steps := [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]):
        if process.poll() is not None:
            raise _Failed(f"a short run ended before it was saved: {_last([_output(process)])}")
        if time.monotonic() - begun > _SECONDS:
            process.kill()
            raise _Failed(f"a short run was not saved within {_SECONDS} seconds")
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return max(steps)


def _last(said: Sequence[str]) -> str:
    """The last line of who said something."""
    lines = [line for text in said for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing said"
