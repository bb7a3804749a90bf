"""The child process of one side: builds a training step, then runs as many as it is asked for.

    python -m scripts.benchmark.worker '{"side": "ours", "preset": ..., "settings": [...], ...}'

A step is forward, loss, backward, clipping where the preset clips, and Adam, on a batch that lies
on the device; reading data is in neither side. Ours is `Trainer.step()`, with its schedule, its
metrics and its guard against values that are not finite. PyTorch's is the usual loop body at a
constant learning rate.
"""

import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmark.cases import Case

MEGABYTE = 2**20

Step = Callable[[], Any]


def resident(field: str = "VmRSS") -> float:
    """MiB of memory that this process has (`VmRSS`) or had at most (`VmHWM`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def forget_peak() -> None:
    """Gives what compiling left free back to the system; `VmHWM` starts again from there."""
    with contextlib.suppress(OSError, AttributeError):  # glibc and Linux have these
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


class Ours:
    """`Trainer.step()` of the built experiment; on `devices` virtual ones where that is above 1."""

    def __init__(self, case: Case, devices: int = 1):
        import jax

        from slots.config import replace
        from slots.experiment import build

        self.jax = jax
        config = case.config
        if devices > 1:
            config = replace(config, mesh__cpu_devices=devices)
            config.mesh.make()  # before JAX starts, which is to be over when memory is read
            if jax.default_backend() != "cpu":
                raise ValueError("the CPU alone can be split into devices.")
        jax.block_until_ready(jax.numpy.ones(8) + 1)  # starts the runtime and its threads
        self.before = resident()
        trainer = build(config).trainer
        self.state, batches = trainer.init(), trainer.batches(0)
        self.batch = jax.block_until_ready(next(batches))
        batches.close()
        start = time.perf_counter()
        self.step = trainer.step().lower(self.state, self.batch).compile()
        analysis = self.step.memory_analysis()
        self.facts = {
            "compile": time.perf_counter() - start,
            "device": jax.devices()[0].device_kind,
            "versions": {"jax": jax.__version__},
            "planned": (
                analysis.temp_size_in_bytes
                + analysis.argument_size_in_bytes
                + analysis.output_size_in_bytes
                - analysis.alias_size_in_bytes
            )
            / MEGABYTE,
        }

    def run(self, steps: int) -> float:
        previous: Any = None
        start = time.perf_counter()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.batch)
            self.jax.block_until_ready(previous)  # as the loop does: one step ahead, no more
            previous = metrics
        self.jax.block_until_ready((self.state, previous))
        return time.perf_counter() - start

    def memory(self) -> float:
        device = self.jax.devices()[0]
        if device.platform == "cpu":
            return resident("VmHWM") - self.before
        return device.memory_stats()["peak_bytes_in_use"] / MEGABYTE


class Torch:
    """The same architecture in PyTorch, eager or compiled, in the faster of two memory layouts."""

    def __init__(self, case: Case, threads: int, *, compiled: bool):
        import torch

        from scripts.benchmark.torch_models import Autoencoder

        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as is JAX's default there
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.ones(8, device=self.device).add(1)
        self.before = resident()
        config = case.config
        shape = config.data.make().image_shape
        self.model = Autoencoder(config, shape).to(self.device)
        self.pixels = torch.rand(config.train.batch_size, shape[2], *shape[:2], device=self.device)
        rule = config.optimizer
        self.clip = rule.clip_norm
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=rule.learning_rate,
            betas=(rule.b1, rule.b2),
            eps=rule.epsilon,
            fused=True,  # faster than the loop and than foreach, on CPUs too
        )
        self.loss: Any = lambda pixels: self.model.loss(pixels)[0]
        layout = self.choose_layout()
        start = time.perf_counter()
        if compiled:
            self.loss = torch.compile(self.loss)
        self.run(2)
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        self.facts = {
            "compile": time.perf_counter() - start if compiled else 0.0,
            "device": name,
            "versions": {"torch": torch.__version__},
            "note": layout,
        }

    def choose_layout(self) -> str:
        formats = {
            "channels last": self.torch.channels_last,
            "contiguous": self.torch.contiguous_format,
        }
        took = {}
        for name, form in formats.items():
            self.use(form)
            self.run(1)
            took[name] = min(self.run(1) for _ in range(5))
        best = min(took, key=lambda name: took[name])
        self.use(formats[best])
        return best

    def use(self, form: Any) -> None:
        self.model.to(memory_format=form)
        self.pixels = self.pixels.contiguous(memory_format=form)

    def run(self, steps: int) -> float:
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.pixels).backward()
            if self.clip is not None:
                self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def memory(self) -> float:
        if self.device.type == "cpu":
            return resident("VmHWM") - self.before
        return self.torch.cuda.max_memory_allocated() / MEGABYTE


def make(side: str, case: Case, threads: int) -> Ours | Torch:
    name, _, devices = side.partition("/")
    if name == "ours":
        return Ours(case, int(devices or 1))
    if name not in ("torch", "torch.compile"):
        raise ValueError(f"There is no side {side!r}.")
    return Torch(case, threads, compiled=name == "torch.compile")


def answer(job: dict[str, Any], channel: Any) -> None:
    """Answers requests until the channel closes."""

    def say(**message: Any) -> None:
        print(json.dumps(message), file=channel, flush=True)

    os.sched_setaffinity(0, job.pop("cores"))  # XLA makes as many threads as it may use cores
    side, threads = job.pop("side"), job.pop("threads")
    case = Case(**{**job, "settings": tuple(job["settings"])})
    if side == "agreement":
        from scripts.benchmark.agreement import check
        from slots.experiment import build

        say(**check(build(case.config)))
        return
    if side == "breakdown":
        from scripts.benchmark.breakdown import breakdown
        from slots.experiment import build

        say(**breakdown(build(case.config)))
        return
    made = make(side, case, threads)
    made.run(3)
    forget_peak()
    say(**made.facts)
    for line in sys.stdin:
        steps = json.loads(line)["steps"]
        say(seconds=made.run(steps)) if steps else say(memory=made.memory())


if __name__ == "__main__":
    # Whatever a library prints goes to the errors, not between our lines.
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)
        answer(json.loads(sys.argv[1]), channel)
