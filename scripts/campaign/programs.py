"""Small runs as programs of their own: started, watched from outside, compared."""

import contextlib
import dataclasses
import functools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.campaign.compare import last_step, unfinished
from slots.training import RunError

ROOT = Path(__file__).parents[2]
PRESET = "slot_attention/tetrominoes_cpu"
SMALL = (
    "data.held_out_size=16",
    "model.slot_dim=16",
    "model.encoder.window=9",
    "model.encoder.stride=7",
    "model.encoder.hidden=16",
    "model.encoder.features=16",
    "model.encoder.head.hidden=16",
    "model.module.num_iterations=1",
    "model.module.eval_iterations=1",
    "model.module.mlp_hidden=16",
    "model.decoder.hidden=[16]",
    "optimizer.learning_rate=0.01",
    "optimizer.warmup_steps=2",
    "optimizer.decay_steps=20",
    "optimizer.ema_decay=0.9",
    "train.batch_size=8",
    "train.max_skipped=20",
    "eval.protocol=house/image",
    "eval.count=16",
    "eval.batch_size=16",
    "eval.every=60",
    "checkpoint.every=25",
    "log.every=1",
    "log.tensorboard=false",
)
"""Some thousand parameters, saved and written about often: most of a start is Python's own."""

_SECONDS = 900
"""Whatever takes longer hangs."""
_KNOWN = re.compile(
    "Training |Going on from step |step |slots: |Checkpoint |The kept program |The run is in "
    r"|What to try next:|  |Slots got the same verdict |\d+ steps so far were not finite "
)
"""How lines begin that a program may write to stderr; all others are noise."""


@dataclasses.dataclass
class Program:
    """A program that trains `run`; what it says goes to a file, so that it never waits for us."""

    run: Path
    process: "subprocess.Popen[bytes]"
    err: Path
    begun: float = dataclasses.field(default_factory=time.time)

    @property
    def said(self) -> str:
        """What it wrote to stderr until now."""
        return self.err.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """Its exit status; None as long as it runs."""
        return self.process.poll()

    def until(self, condition: Callable[[], bool]) -> bool:
        """Waits until `condition` holds; False where the program ended first."""
        begun = time.monotonic()
        while not condition():
            if self.process.poll() is not None:
                return False
            if time.monotonic() - begun > _SECONDS:
                self.end(signal.SIGKILL)
                raise TimeoutError(f"{self.run} took more than {_SECONDS} seconds: {self.said}")
            time.sleep(0.001)
        return True

    def end(self, number: int | None = None) -> int:
        """Sends a signal if one is given, and waits; the exit status."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def stage(self) -> str:
        """How far it came, by what it said and left behind; for one that has ended."""
        said = self.said
        if "\nstep " not in f"\n{said}":
            return "before the first step" if "Training " in said else "starting"
        return "saving" if self.saves() else "training"

    def saves(self) -> bool:
        """Whether a save is under way, or was when it ended: of earlier ones some may be left."""
        for path in unfinished(self.run):
            with contextlib.suppress(OSError):  # it was finished in this moment
                if path.stat().st_ctime > self.begun:
                    return True
        return False

    def complaints(self, status: int, *words: str) -> list[str]:
        """What is wrong with how it ended.

        Args:
            status: the exit status that it should have.
            words: what its one sentence should hold; none where it should say none.
        """
        ended, found = self.end(), []
        lines = self.said.splitlines()
        told = [line for line in lines if line.startswith("slots: ")]
        if ended != status:
            found.append(f"exit status {ended} in place of {status}: {_last(lines)}")
        noise = [line for line in lines if line and not _KNOWN.match(line)]
        if noise:
            found.append(f"it also said: {noise[0]}")
        if words and len(told) != 1:
            found.append(f"{len(told)} sentences in place of one")
        found += [
            f"{word!r} is not in: {told[-1]}" for word in words if told and word not in told[-1]
        ]
        if told and not words:
            found.append(told[0])
        return found


class Place:
    """A folder for the runs of a campaign, and those among them that nothing happens to."""

    def __init__(self, folder: Path, *, seed: int = 0, steps: int = 120, figures: bool = True):
        self.folder, self.steps, self.figures = folder, steps, figures
        self.random = random.Random(seed)
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        # A folder of its own: programs killed in the middle of keeping what they compiled.
        self.environment["SLOTS_CACHE"] = str(folder / "cache")
        # A shell that starts this in the background has it ignore SIGINT, and so would the runs.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(
        self,
        run: Path,
        *settings: str,
        steps: int | None = None,
        starter: Sequence[str] = (),
    ) -> Program:
        """Begins the small run in `run`, or goes on with it, by the same command.

        Args:
            run: its folder.
            settings: changes, the same at every call.
            steps: other than the place's.
            starter: words for `scripts.campaign.starter`, which meddles with the program.
        """
        words = [*SMALL, f"train.steps={steps or self.steps}", *settings, f"run={run}"]
        starter = [*starter, *([] if self.figures else ["no_figures"])]
        module = ["scripts.campaign.starter", *starter, "--"] if starter else ["slots"]
        if (run / "config.json").exists() and self.random.random() < 0.5:
            words = ["train", str(run)]  # the other way to say it
        else:
            words = ["train", PRESET, *words]

        number, err = tempfile.mkstemp(dir=self.folder, suffix=".err")
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *words],
            stdout=subprocess.DEVNULL,
            stderr=number,
            cwd=ROOT,
            env=self.environment,
        )
        os.close(number)
        return Program(run, process, Path(err))

    def finish(self, run: Path, *settings: str, **how: Any) -> list[str]:
        """Trains `run` to its end; what is wrong with how it ended."""
        return self.start(run, *settings, **how).complaints(0)

    def undisturbed(self, name: str, *settings: str, **how: Any) -> Path:
        """The run of these settings that nothing happens to; trained at the first call."""
        run = self.folder / name
        done = last_step(run) == (how.get("steps") or self.steps)
        if not done and (wrong := self.finish(run, *settings, **how)):
            raise RunError(f"The run that nothing happens to ended otherwise: {wrong[0]}.")
        return run

    @functools.cached_property
    def half(self) -> Path:
        """A run that was stopped by SIGTERM about half-way; copies of it are harmed."""
        program = self.start(self.folder / "half")
        program.until(lambda: last_step(program.run) >= self.steps // 2)
        program.end(signal.SIGTERM)
        if wrong := program.complaints(143, "Stopped by SIGTERM"):
            raise RunError(f"The run that is to be harmed ended otherwise: {wrong[0]}.")
        return program.run


def _last(lines: Sequence[str]) -> str:
    """What a program said last."""
    return next((line for line in reversed(lines) if line.strip()), "nothing said")
