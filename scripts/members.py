"""Times the ways in which several seeds can share a program, and prints a table.

    python scripts/members.py slot_attention/tetrominoes_cpu

A cell holds milliseconds for an update of all members, their data included, its ratio to `alone`,
and seconds until the first update, compilation included. `alone` is what as many runs of one seed
take, one after the other; `looped` (lax.map) and `unrolled` are not settings, for what they cost.
The ways take turns, and a figure is the median of the repeats. One device; the cache of compiled
programs is off.
"""

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from slots import presets
from slots.config import override
from slots.experiment import build
from slots.provenance import commit, machine
from slots.training import Trainer
from slots.training.members import stack, unstack


def looped(trainer: Trainer) -> Callable[..., Any]:
    """A loop over the members inside the program."""
    seeds, update = np.array(trainer.train.member_seeds, np.uint32), trainer.update()

    def all_of_them(*members: Any) -> Any:
        stacked = (*map(stack, members), seeds)
        return [unstack(x, len(seeds)) for x in jax.lax.map(lambda one: update(*one), stacked)]

    return all_of_them


def unrolled(trainer: Trainer) -> Callable[..., Any]:
    """The members written out one after the other inside the program."""
    seeds, update = trainer.train.member_seeds, trainer.update()

    def all_of_them(*members: Any) -> Any:
        found = [update(*one) for one in zip(*members, seeds, strict=True)]
        return list(zip(*found, strict=True))

    return all_of_them


WAYS: dict[str, Callable[[Trainer], Callable[..., Any]]] = {
    "alone": lambda trainer: trainer.member(0).step(),
    "mapped": lambda trainer: with_members(trainer, members="mapped").step(),
    "vmapped": lambda trainer: with_members(trainer, members="vmapped").step(),
    "looped": lambda trainer: jax.jit(looped(trainer), donate_argnums=0),
    "unrolled": lambda trainer: jax.jit(unrolled(trainer), donate_argnums=0),
}


def with_members(trainer: Trainer, **changes: Any) -> Trainer:
    return dataclasses.replace(trainer, train=dataclasses.replace(trainer.train, **changes))


class Way:
    """A compiled update, and where it stands."""

    def __init__(self, name: str, trainer: Trainer):
        data = trainer.member(0) if name == "alone" else trainer
        self.step, self.state, self.stream = WAYS[name](trainer), data.init(), data.batches(0)
        self.first_seconds = self.milliseconds(1) / 1000

    def milliseconds(self, steps: int) -> float:
        """Per step, over `steps` of them."""
        start = time.perf_counter()
        for batch in itertools.islice(self.stream, steps):
            self.state, metrics = self.step(self.state, batch)
            jax.block_until_ready(metrics)
        return (time.perf_counter() - start) / steps * 1000


def row(trainer: Trainer, count: int, repeats: int, steps: int) -> str:
    trainer = with_members(trainer, seeds=count)
    ways = {name: Way(name, trainer) for name in WAYS}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            taken = way.milliseconds(steps) * (count if name == "alone" else 1)
            if repeat:  # the first is for warming up
                times[name].append(taken)
    medians = {name: statistics.median(found) for name, found in times.items()}
    cells = [
        f"{taken:.1f} (×{taken / medians['alone']:.2f}), {ways[name].first_seconds:.0f} s"
        for name, taken in medians.items()
    ]
    return f"| {count} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--members", type=int, nargs="+", default=[2, 3, 5])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of each repeat")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    config = override(presets.load(options.preset), [*options.settings, "mesh.data=1"])
    trainer = build(config).trainer
    print(f"commit {commit()}, {machine()}, jax {jax.__version__}\n")
    print(f"| members | {' | '.join(WAYS)} |\n|{'---|' * (len(WAYS) + 1)}", flush=True)
    for count in options.members:
        print(row(trainer, count, options.repeats, options.steps), flush=True)


if __name__ == "__main__":
    main()
