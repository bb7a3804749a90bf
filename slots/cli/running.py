"""Commands that train: `train`, `reproduce`; and what looks at a run: `show`."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

from slots.cli.words import number, restore, show_lines, split, take
from slots.config import ConfigError, override
from slots.processes import is_first, join

_SELFTEST = "slot_attention/tetrominoes_cpu"


def train(words: list[str]) -> int:
    """`slots train`: a new run, or one that goes on."""
    from slots import presets, run_folder, runs

    target, assignments, given = split(words, "preset or run folder", ["--distributed"])
    _join(assignments, given)
    run = take(assignments, "run")
    if (Path(target) / "config.json").is_file():
        if run is not None:
            raise ConfigError("run= names a new run's folder; a run that goes on has one.")
        config = run_folder.read_config(Path(target))
        folder: Path | None = Path(target)
    else:
        config, folder = presets.load(target), None if run is None else Path(run)
    config = override(config, assignments)
    config.mesh.prepare()
    folder = folder or run_folder.default_folder(config.name)
    if is_first():
        print(f"Training {config.name} in {folder}", file=sys.stderr)
    trained = runs.train(config, folder)
    from slots.figures import write_figures
    from slots.report import write_report

    if not is_first():
        return 0
    write_figures(trained)
    report = write_report(trained)
    slots = program()
    print(
        f"\nThe run is in {folder}: look at {report} and {folder}/figures\n"
        f"What to try next:\n"
        f"  {slots} eval {folder} --json\n"
        f"  {slots} show {folder} count=12\n"
        f"  {slots} train {folder} train.steps={config.train.steps * 2}\n"
        f"  {slots} list",
        file=sys.stderr,
    )
    return 0


def sweep(words: list[str]) -> int:
    """`slots sweep`: a new one, or one that goes on."""
    from slots import presets
    from slots import sweep as sweeps

    target, assignments, given = split(words, "preset or folder of a sweep", ["--slurm"])
    task = _count(take(assignments, "task"), "task")
    if (Path(target) / sweeps.SWEEP).is_file():
        if assignments:
            raise ConfigError(f"{assignments[0]}: a sweep that goes on keeps its settings.")
        made = sweeps.read(Path(target))
        sweeps.check(made)
    else:
        out, file = take(assignments, "out"), take(assignments, "list")
        if out is None:
            raise ConfigError("out=DIR is missing: where the sweep's runs and table are to be.")
        by = take(assignments, "by") or presets.load(target).checkpoint.best_metric
        settings, points = sweeps.grid(assignments)
        if file is not None:
            points = [(*one, *other) for one in sweeps.listed(Path(file)) for other in points]
        made = sweeps.Sweep(Path(out), target, settings, tuple(points), by)
        sweeps.check(made)
        made.save()
    if "--slurm" in given:
        print(f"sbatch {sweeps.array_script(made, program())}")
        return 0
    failed = sweeps.run(made, task)
    print(sweeps.gather(made))
    for point, reason in failed.items():
        print(f"Point {point} failed: {reason}", file=sys.stderr)
    return int(bool(failed))


def selftest(words: list[str]) -> int:
    """`slots selftest`."""
    from slots.selftest import selftest

    if not words or words[0].startswith("-") or "=" in words[0]:
        words = [_SELFTEST, *words]
    target, assignments, given = split(words, "preset", ["--json", "--distributed"])
    _join(assignments, given)
    status = 0
    for outcome in selftest(target, assignments):
        status |= not outcome.ok
        if is_first():
            as_json = "--json" in given
            print(json.dumps(dataclasses.asdict(outcome)) if as_json else outcome, flush=True)
    return status


def _join(assignments: list[str], flags: set[str]) -> None:
    """Takes from the words which process this is, and makes it one of several."""
    join(
        take(assignments, "coordinator"),
        _count(take(assignments, "processes"), "processes"),
        _count(take(assignments, "process"), "process"),
        detect="--distributed" in flags,
    )


def _count(text: str | None, key: str) -> int | None:
    if text is not None and not text.isdecimal():
        raise ConfigError(f"{key}={text!r} should be a number.")
    return None if text is None else int(text)


def program() -> str:
    """How to call this program again; after `make demo` the command is not on the path."""
    if shutil.which("slots"):
        return "slots"
    return sys.argv[0] if Path(sys.argv[0]).name == "slots" else f"{sys.executable} -m slots"


def reproduce(words: list[str]) -> int:
    """`slots reproduce`: lists rows, or runs one."""
    from slots import reproduce
    from slots.published import ROWS

    if not [word for word in words if not word.startswith("-")]:
        for name, row in ROWS.items():
            numbers = ", ".join(f"{n} {mean:.3f}" for n, (mean, _) in row.values.items())
            print(f"  {name:<42} {row.paper}: {numbers or 'no number could be had'}")
        return 0
    name, assignments, given = split(words, "row", ["--full", "--json"])
    row = reproduce.find(name)
    out = Path(take(assignments, "out") or f"reproductions/{name}")
    command = ["slots", "reproduce", *words]
    card = reproduce.reproduce(
        row, out, full="--full" in given, settings=assignments, command=command
    )
    show_lines([json.dumps(card)] if "--json" in given else reproduce.card_lines(card))
    print(f"The card is in {out}", file=sys.stderr)
    return 0


def show(words: list[str]) -> int:
    """`slots show`."""
    from slots.figures import write_figures
    from slots.report import write_report

    named = [word for word in words if "=" not in word and not word.startswith("-")]
    if named[1:] and "--html" not in words:
        raise ConfigError(f"{named[1]!r}: two runs side by side are shown with --html.")
    if named[2:]:
        raise ConfigError(f"{named[2]!r}: no more than two runs are shown side by side.")
    rest = [word for word in words if word not in named]
    run, given, count = restore([*named[:1], *rest], ["--html"])
    if "--html" not in given:
        show_lines(map(str, write_figures(run, count=number(count, "count", 8))))
        return 0
    other = restore([named[1], *rest], ["--html"])[0] if named[1:] else None
    print(write_report(run, other, count=number(count, "count", 6)))
    return 0
