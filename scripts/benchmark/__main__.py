"""Times whole training steps of `slots` and of plain PyTorch, and writes the table.

    python -m scripts.benchmark --out docs/benchmarks.md
    python -m scripts.benchmark --rows paper --sides ours torch --rounds 3

Each side trains the same architecture on the same machine with as many threads, in a process of its
own; they take turns within one run (`timing`). Before anything is timed, loss, reconstruction and
every gradient of the two are compared (`agreement`); what does not agree is not timed. Without
PyTorch only our side is timed, and the table says so.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.benchmark.cases import CASES, TINY, Case
from scripts.benchmark.table import breakdown_section, section
from scripts.benchmark.timing import Result, SideError, measure, once
from slots.provenance import commit, machine

SIDES = ("ours", "ours/2", "torch", "torch.compile")
ON_CPU = {"JAX_PLATFORMS": "cpu"}
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Else the first JAX process takes most of a GPU's memory, and the others find none."""

NOTES = """\
A step is forward, loss, backward, gradient clipping where the preset has it, and Adam, on a batch
that lies on the device; reading data is in neither side. Ours is `Trainer.step()`, with its
learning-rate schedule, its metrics and its guard against values that are not finite. PyTorch's
(`scripts/benchmark/torch_models.py`) is the usual loop body at a constant learning rate, fused
Adam, in the faster of the two memory layouts, which the last column names. Sides take turns in
processes of their own, each on the same {threads} cores with {threads} threads; a round is about
{seconds:g} s of steps of one side, {rounds} rounds. Memory on a CPU is the most that was resident
while training less what was before the model was built; on a GPU it is the allocators' peak. "XLA
plans" is the program's own sum of arguments, outputs and temporaries, per device. Before the
timing both sides got the same parameters, pictures and first slots; differences are relative to
the largest magnitude of each array, PyTorch in float64. What bounds our step on a CPU:
[results/speed.md](results/speed.md).
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.benchmark", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=[*SIDES])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round; default 2")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="one tiny case, two short rounds")
    parser.add_argument("--no-breakdown", action="store_false", dest="breakdown")
    parser.add_argument("--out", type=Path, help="file for the table, which is printed too")
    options = parser.parse_args(arguments)
    available = len(os.sched_getaffinity(0))
    if not 1 <= options.threads <= available:
        parser.error(f"--threads={options.threads} must be between 1 and {available}.")
    return options


def agree(case: Case, threads: int) -> tuple[bool, str]:
    """Whether the sides may be timed against each other, and the sentence that says why."""
    try:
        found = once("agreement", case, threads, ON_CPU)
    except SideError as error:
        return False, f"The sides do not agree, so PyTorch is not timed: {error}"
    return True, (
        f"The sides agree to {found['outputs']:.0e} (outputs) and {found['gradients']:.0e} "
        f"(gradients); PyTorch's own float32 to {found['outputs_rounding']:.0e} and "
        f"{found['gradients_rounding']:.0e}."
    )


def run(case: Case, options: argparse.Namespace) -> tuple[list[str], dict[str, Result]]:
    """The section of one case, and what it is made of."""
    sides, sentence = list(options.sides), ""
    if any(side.startswith("torch") for side in sides):
        if importlib.util.find_spec("torch") is None:
            agrees, sentence = False, "PyTorch is not installed: only our side is timed."
        else:
            agrees, sentence = agree(case, options.threads)
        if not agrees:
            sides = [side for side in sides if side.startswith("ours")]
    results = measure(
        case,
        sides,
        threads=options.threads,
        rounds=options.rounds,
        seconds=options.seconds,
        environment=SHARED_GPU,
    )
    lines = section(case.title, results, sentence)
    if options.breakdown:
        try:
            lines += breakdown_section(once("breakdown", case, options.threads, SHARED_GPU))
        except SideError as error:
            lines += [f"No breakdown: {error}", ""]
    return lines, results


def price(name: str, case: Case, medians: Mapping[str, float]) -> list[str]:
    """What the row's step costs beside that of the row it is compared with."""
    if case.beside is None or not {name, case.beside} <= medians.keys():
        return []
    ratio = medians[name] / medians[case.beside]
    return [f"Our step is {ratio:.2f} times that of: {CASES[case.beside].title}.", ""]


def versions() -> str:
    names = ("jax", "jaxlib", "flax", "torch")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    cases = {row: CASES[row] for row in options.rows}
    if options.quick:
        cases, options.rounds, options.seconds = {"tiny": TINY}, 2, 0.1
    command = shlex.join(["python", "-m", "scripts.benchmark", *arguments])
    if tunables := os.environ.get("GLIBC_TUNABLES"):  # memory in huge pages, for all sides
        command = f"GLIBC_TUNABLES={tunables} {command}"
    lines = [
        "# Benchmarks",
        "",
        f"`{command}`, commit {commit()}, {machine()}, {options.threads} threads, {versions()}.",
        "",
        NOTES.format(threads=options.threads, seconds=options.seconds, rounds=options.rounds),
    ]
    medians: dict[str, float] = {}
    for name, case in cases.items():
        found, results = run(case, options)
        if "ours" in results and results["ours"].seconds:
            medians[name] = results["ours"].median
        found += price(name, case, medians)
        print("\n".join(found), flush=True)
        lines += found
        if options.out:  # after every row: the whole table takes an hour
            options.out.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
