"""Holds the cost model of docs/scaling.md against programs compiled for 1 to 256 devices.

    python scripts/scaling.py --out docs/results/scaling.md

Nothing is run: training steps are compiled for as many simulated CPU devices, and what one device
computes and exchanges is counted in the compiled program. The model knows what one device computes
at two small batch sizes and what two devices exchange, no more.
"""

import argparse
import dataclasses
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from slots import presets
from slots.conditions import table
from slots.config import override
from slots.data import TetrominoesConfig
from slots.models import Definition, count_parameters
from slots.provenance import commit, machine
from slots.training import Trainer
from slots.training.mesh import batch_sharding
from slots.types import Batch

DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCH = 256
"""Of the step, however many devices share it."""
CASES = {
    "slot_attention/tetrominoes_cpu": (35, 35, 3),
    "slot_attention/clevr6": (128, 128, 3),
}
"""Presets, and the pictures that they are given."""

_COLLECTIVE = re.compile(
    r"= (\(.*?\)|\S+) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)
_ARRAY = re.compile(r"(pred|[suf]\d+|bf16)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Counts:
    """What one device does in a step."""

    flops: float
    exchanged: float
    """Bytes of the results of collective operations."""


def compiled_counts(preset: str, devices: int, batch: int, settings: Sequence[str] = ()) -> Counts:
    """Of the step of `batch` examples, compiled for so many devices."""
    words = [f"mesh.data={devices}", f"train.batch_size={batch}", *settings]
    config, shape = override(presets.load(preset), words), CASES[preset]
    trainer = Trainer.of(
        Definition.of(config.model, shape),
        config.objectives,
        TetrominoesConfig().make(),  # no batch is read
        config.optimizer,
        config.train,
        config.mesh,
    )
    place = batch_sharding(trainer.mesh)
    pictures = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        jax.eval_shape(
            lambda: Batch(image=jnp.zeros((batch, *shape), jnp.uint8), index=jnp.arange(batch))
        ),
    )
    compiled = trainer.step().lower(trainer.abstract_state(), pictures).compile()
    return Counts(compiled.cost_analysis()["flops"], exchanged_bytes(compiled.as_text()))


def exchanged_bytes(program: str) -> float:
    """Bytes of the results of all collective operations in the text of a program."""
    total = 0
    for shapes, _ in _COLLECTIVE.findall(program):
        for dtype, sizes in _ARRAY.findall(shapes):
            bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
            total += bits // 8 * math.prod(int(size) for size in sizes.split(",") if size)
    return total


def parameters(preset: str) -> int:
    """Of one member."""
    definition = Definition.of(presets.load(preset).model, CASES[preset])
    return count_parameters(jax.eval_shape(definition.init, jax.random.key(0))[0])


def rows(preset: str, devices: Sequence[int]) -> list[list[str]]:
    """A line per number of devices: counted, and as the model has it."""
    small, large = (compiled_counts(preset, 1, size) for size in (4, 8))
    each = (large.flops - small.flops) / 4
    fixed = small.flops - 4 * each
    two = compiled_counts(preset, 2, BATCH).exchanged
    found = []
    for count in devices:
        begun = time.perf_counter()
        counts = compiled_counts(preset, count, BATCH)
        seconds = time.perf_counter() - begun
        flops = fixed + each * BATCH / count
        exchanged = two if count > 1 else 0
        found.append(
            [
                f"`{preset}`",
                str(count),
                f"{counts.flops / 1e9:.3f}",
                f"{flops / 1e9:.3f}",
                f"{counts.exchanged / 2**20:.3f}",
                f"{exchanged / 2**20:.3f}",
                f"{4 * parameters(preset) / 2**20:.3f}",
            ]
        )
        print(*found[-1], f"{seconds:.0f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--devices", nargs="+", type=int, default=DEVICES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(options.devices))
    found = [row for preset in options.presets for row in rows(preset, options.devices)]
    heads = ["preset", "devices", "GFLOP", "as modelled", "MiB exchanged", "as modelled"]
    heads.append("MiB of parameters")
    text = table(heads, found)
    print(text)
    if options.out:
        head = f"# What a step costs a device\n\n`python scripts/scaling.py --out {options.out}`, "
        options.out.write_text(f"{head}commit {commit()}, {machine()}.\n\n{text}\n")


if __name__ == "__main__":
    main()
