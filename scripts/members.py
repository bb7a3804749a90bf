"""Times the ways in which several seeds can share a program, and prints a table.

    python scripts/members.py slot_attention/tetrominoes_cpu

A cell holds milliseconds for an update of all members, their data included, its ratio to `alone`,
and seconds of compilation. `alone` is what as many runs of one seed take, one after the other. The
ways take turns, and a figure is the median of the repeats; compilation is timed once, without the
cache of compiled programs. One device.
"""

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slots import presets
from slots.config import override
from slots.experiment import build
from slots.training import Trainer, TrainStep
from slots.training.members import over_members, stack


def unrolled(update: Callable[..., Any]) -> Callable[..., Any]:
    """The members written out one after the other."""

    def all_of_them(*arrays: Any) -> Any:
        count = len(arrays[-1])
        found = [update(*jax.tree.map(lambda x, i=i: x[i], arrays)) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

    return all_of_them


WAYS: dict[str, Callable[..., Any]] = {
    "vmapped": lambda update: over_members(update, "vmapped"),
    "mapped": lambda update: over_members(update, "mapped"),
    "unrolled": unrolled,
}


class Way:
    """A compiled update of all members, and where it stands."""

    def __init__(self, trainer: Trainer, count: int, wrap: Callable[..., Any] | None):
        update = TrainStep(
            trainer.definition,
            trainer.objectives,
            trainer.optimizer,
            trainer.train.steps,
            trainer.train.accumulate,
        )
        self.stream = batches(trainer, count, stacked=wrap is not None)
        state, batch = trainer.init(), next(self.stream)
        if wrap is None:
            step = jax.jit(lambda *arrays: update(*arrays, trainer.train.seed), donate_argnums=0)
        else:
            seeds = np.arange(count, dtype=np.uint32)
            step = jax.jit(lambda *arrays: wrap(update)(*arrays, seeds), donate_argnums=0)
            state = stack([state] * count)
        start = time.perf_counter()
        self.step = step.lower(state, batch).compile()
        self.compile_seconds = time.perf_counter() - start
        self.state = state

    def milliseconds(self, steps: int) -> float:
        """Per step, over `steps` of them."""
        start = time.perf_counter()
        for batch in itertools.islice(self.stream, steps):
            self.state, metrics = self.step(self.state, batch)
            jax.block_until_ready(metrics)
        return (time.perf_counter() - start) / steps * 1000


def batches(trainer: Trainer, count: int, stacked: bool) -> Iterator[Any]:
    streams = [trainer.dataset.with_seed(i).train(trainer.train.batch_size) for i in range(count)]
    return (stack(group) if stacked else group[0] for group in zip(*streams, strict=True))


def row(trainer: Trainer, count: int, repeats: int, steps: int) -> str:
    ways = {"alone": Way(trainer, 1, None)}
    ways |= {name: Way(trainer, count, wrap) for name, wrap in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            taken = way.milliseconds(steps) * (count if name == "alone" else 1)
            if repeat:  # the first is for warming up
                times[name].append(taken)
    medians = {name: statistics.median(found) for name, found in times.items()}
    cells = [
        f"{taken:.1f} (×{taken / medians['alone']:.2f}), {ways[name].compile_seconds:.0f} s"
        for name, taken in medians.items()
    ]
    return f"| {count} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of each repeat")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    config = override(presets.load(options.preset), [*options.settings, "mesh.data=1"])
    trainer = build(config).trainer
    device = f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores"
    print(f"{device}, jax {jax.__version__}, Python {platform.python_version()}\n")
    print(f"| members | {' | '.join(['alone', *WAYS])} |\n|{'---|' * (len(WAYS) + 2)}")
    for count in options.members:
        print(row(trainer, count, options.repeats, options.steps), flush=True)


if __name__ == "__main__":
    main()
