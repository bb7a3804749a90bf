"""The training loop: steps, logging, evaluation, checkpoints, signals."""

import contextlib
import dataclasses
import functools
import logging
import math
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from slots.evaluation import OnCollapse, alarms
from slots.metrics import NO_GRADIENT, Verdict
from slots.processes import highest
from slots.training.checkpoint import CheckpointConfig, Checkpoints, RunError
from slots.training.log import LogConfig, MetricsLog, Progress
from slots.training.members import State, each, summary, updates
from slots.training.trainer import Trainer

log = logging.getLogger("slots")

_SHOWN = (
    *("fg_ari", "ari", "mbo", "mse_mean"),
    *("ap_inf", "ap_1", "ap_0.5", "ap_0.25", "ap_0.125"),
    *("accuracy", "macro_f1", "hmc"),
)
"""Metrics in the line that reports an evaluation; all of them are in the files."""


Evaluator = Callable[[State, int], dict[str, Any]]
"""State and step to metrics: name to what `Statistic.as_dict` gives. `verdicts` holds, for each
member, the `name` of the verdict on its slots, the `reason`, and a `warning` or None."""


_ASK_EVERY = 10


class _Stop:
    """Notes SIGTERM and SIGINT, so that the loop can save before it ends."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        old = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def agreed(self, step: int) -> int:
        """The signal that this process or another one was sent; 0 for none.

        Several processes ask each other every `_ASK_EVERY` steps, so that all stop at the same one.
        """
        if jax.process_count() > 1 and step % _ASK_EVERY:
            return 0
        return highest(self.signal or 0)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.default_int_handler(number, frame)  # asked twice: stop at once
        self.signal = number


class Interrupted(RunError):
    """Training was asked to stop and has saved; `code` is the exit status that is customary."""

    def __init__(self, step: int, number: int, folder: Path):
        super().__init__(
            f"Stopped by {signal.Signals(number).name} at step {step:,}, which is saved; "
            f"go on with: slots train {folder}"
        )
        self.code = 128 + number


class Collapsed(RunError):
    """Training was stopped because the slots of all members stayed unhealthy; it was saved."""


def fit(
    trainer: Trainer,
    folder: Path,
    *,
    checkpoint: CheckpointConfig,
    logging_config: LogConfig,
    evaluate: Evaluator,
    evaluate_every: int,
    on_collapse: OnCollapse = "say",
) -> State:
    """Trains the run in `folder` to its last step, from its newest sound checkpoint if it has one.

    Killed anywhere and called again, it ends with bitwise the same parameters on the same number
    and kind of devices and cores: data, draws and schedules are functions of the step.

    Raises:
        RunError: too many steps were not finite, or a checkpoint could not be saved.
        Interrupted: SIGTERM or SIGINT; the state was saved.
        Collapsed: slots stayed unhealthy, and `on_collapse` is not `say`.
    """
    checkpoints = Checkpoints(folder / "checkpoints", checkpoint)
    with contextlib.ExitStack() as opened:
        opened.callback(_close, checkpoints)
        state = None
        if checkpoints.steps():
            state, restored = checkpoints.restore(trainer.abstract_state())
            log.info("Going on from step %s.", f"{restored:,}")
        if state is None:
            state = trainer.init()
        records = MetricsLog(folder, logging_config, step=updates(state))
        opened.callback(records.close)
        session = _Session(
            trainer,
            folder,
            checkpoints,
            checkpoint,
            logging_config,
            evaluate,
            evaluate_every,
            on_collapse,
            records,
        )
        return session.run(state)


def _close(checkpoints: Checkpoints) -> None:
    """A save that fails now was reported, or training has ended with a clearer reason."""
    with contextlib.suppress(RunError):
        checkpoints.close()


class _Session:
    """One stretch of training, from wherever the state is to the last step."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        checkpoints: Checkpoints,
        checkpoint: CheckpointConfig,
        logging_config: LogConfig,
        evaluate: Evaluator,
        evaluate_every: int,
        on_collapse: OnCollapse,
        records: MetricsLog,
    ):
        self.on_collapse = on_collapse
        self.trainer, self.folder = trainer, folder
        self.checkpoints, self.checkpoint = checkpoints, checkpoint
        self.logging_config = logging_config
        self.evaluate, self.evaluate_every = evaluate, evaluate_every
        self.total = trainer.train.steps
        self.records = records
        self.progress: Progress

    def run(self, state: State) -> State:
        step, config = updates(state), self.trainer.train
        self.progress = Progress(self.total, config.batch_size * config.seeds, start=step)
        if step >= self.total:
            return state
        update, stop = self.trainer.step(), _Stop()
        previous: Any = None
        with stop.watching():
            for batch in self.trainer.batches(step):
                state, metrics = update(state, batch)
                step += 1
                # The host stays one step ahead of the device, no more: batches take memory.
                jax.block_until_ready(previous)
                previous = metrics
                if step % self.logging_config.every == 0 or step == self.total:
                    self._report(step, metrics, state)
                best = self._evaluate(step, state, metrics)
                due = step % self.checkpoint.every == 0 or step == self.total
                stopped = stop.agreed(step)
                if due or best is not None or stopped:
                    self.checkpoints.save(step, state, best)
                if self._due(step):
                    self._watch_health(step, state)
                if stopped and step < self.total:
                    self.checkpoints.wait()
                    raise Interrupted(step, stopped, self.folder)
                if step == self.total:
                    break
            self.checkpoints.wait()
        return state

    def _report(self, step: int, metrics: Any, state: State) -> None:
        skipped = [int(member.skipped) for member in each(state)]
        found = jax.device_get(each(metrics))
        values = {name: summary([one[name] for one in found]) for name in found[0]}
        values["skipped"] = summary(skipped)
        loss = values["loss"]
        shown = (loss["mean"], loss["std"]) if isinstance(loss, dict) else (loss,)
        rates = self.progress.show(step, *shown)
        self.records.write(step, "train", {**values, **rates})
        config = self.trainer.train
        for seed, count in zip(config.member_seeds, skipped, strict=True):
            whose = f" of the member with seed {seed}" if config.seeds > 1 else ""
            if count > config.max_skipped:
                self.checkpoints.save(step, state)
                self.checkpoints.wait()
                raise RunError(
                    f"{count} steps{whose} had a loss or gradient that was not finite "
                    f"(train.max_skipped={config.max_skipped}); "
                    f"the last good state is saved at step {step:,}."
                )
            if count:
                self.progress.say(
                    f"{count} steps{whose} so far were not finite and left the state alone."
                )

    def _due(self, step: int) -> bool:
        """Whether an evaluation is."""
        return step % self.evaluate_every == 0 or step == self.total

    def _watch_health(self, step: int, state: State) -> None:
        """Says so, or ends training, where slots stay unhealthy."""
        found = alarms(self.records.evaluations, self.total)
        ill = {
            seed: name
            for seed, name in zip(self.trainer.train.member_seeds, found, strict=False)
            if name is not None
        }
        if not ill:
            return
        told = ", ".join(f"seed {seed}: {name}" for seed, name in ill.items())
        text = f"Slots got the same verdict at three evaluations in a row ({told})"
        if self.on_collapse == "say" or len(ill) < len(found) or step == self.total:
            self.progress.say(f"{text}.")
            return
        self.checkpoints.save(step, state)
        self.checkpoints.wait()
        raise Collapsed(f"{text}; training stopped at step {step:,}, which is saved.")

    def _evaluate(self, step: int, state: State, metrics: Any) -> float | None:
        """The metric that decides what is best, where an evaluation is due."""
        if not self._due(step):
            return None
        with self.progress.paused():
            results = self.evaluate(state, step)
        for told, member in zip(results.get("verdicts", ()), each(metrics), strict=False):
            if float(member.get("slot_init_gradient", 1)) == 0:
                told |= dataclasses.asdict(NO_GRADIENT)
        self.records.write(step, "val", results)
        shown = [
            f"{name} {_shown(r)}"
            for name, r in results.items()
            if name in _SHOWN and not math.isnan(r["mean"])
        ]
        verdicts = results.get("verdicts", ())
        if verdicts:
            shown.append(f"slots {_told(verdicts)}")
        self.progress.say(f"step {step:,} val  {'  '.join(shown)}")
        chosen = results.get(self.checkpoint.best_metric)
        return None if chosen is None else float(chosen["mean"])


def _told(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Verdicts in a few words: of several members, how many each one holds for."""
    if len(verdicts) == 1:
        return str(Verdict(**verdicts[0]))
    names = [v["name"] for v in verdicts]
    return ", ".join(f"{names.count(n)} of {len(names)} {n}" for n in dict.fromkeys(names))


def _shown(found: dict[str, Any]) -> str:
    """A metric with its error over examples, or where there are several over members."""
    members = len(found.get("members", ()))
    spread, over = ("seeds_std", f"{members} seeds, ") if members else ("stderr", "")
    # What belongs to all examples together has no error over them.
    error = "" if math.isnan(found[spread]) else f" ± {found[spread]:.4f}"
    return f"{found['mean']:.4f}{error} ({over}n = {found['count']})"


def use_compilation_cache() -> None:
    """Keeps compiled programs in `$SLOTS_CACHE` (default `~/.cache/slots`) between processes."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "slots"
    folder = Path(os.environ.get("SLOTS_CACHE", default)) / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    _replace_cut_programs(folder)


_CUT = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']+)': (.*)")


@functools.cache
def _replace_cut_programs(folder: Path) -> None:
    """Removes kept programs that JAX warns of, and says so in one line in place of its warning.

    JAX (0.10) writes them in place, so that a kill or a full disk cuts one short; it does not
    replace what is there, so that every later process would warn and compile again. The warning
    tells a program's name and not its file: all of the name go, and are compiled when asked for.
    """
    before = warnings.showwarning

    def show(message: Warning | str, *others: Any, **named: Any) -> None:
        found = _CUT.match(str(message))
        if found is None:
            return before(message, *others, **named)
        for path in folder.glob(f"{found[2]}-*"):
            path.unlink(missing_ok=True)
        if found[1] == "reading":
            log.info("The kept program %s was cut short and is compiled anew.", found[2])
        else:
            log.info("The compiled program %s could not be kept: %s", found[2], found[3])

    warnings.showwarning = show
