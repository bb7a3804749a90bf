"""`slots train | eval | show | list`: parse, call, say what went wrong in one sentence."""

import dataclasses
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slots.config import Component, ConfigError, nearest, override

if TYPE_CHECKING:
    from slots.evaluation import Statistic

USAGE = """slots: object-centric learning in JAX

  slots train CONFIG [key=value ...]   train a preset, or go on with a run folder
  slots eval RUN [--json] [--references] [key=value ...]   score a run on its held-out split
  slots show RUN [key=value ...]       write its figures to RUN/figures
  slots list                           presets and everything that can be plugged in

CONFIG is a preset as `slots list` prints it, a Python file with a function config(), or a run
folder. Settings are given by their full path: model.module.num_iterations=5, data=folder
data.path=DIR, train.steps=1000, run=PATH (the run folder). train.seeds=5 trains five members, each
with a seed of its own, as one program. For eval and show, step=best or step=N chooses a checkpoint
(default: the newest), member=I one member (default: eval scores all, show draws the scenes of the
first). --references adds what segmentations without learning score; --traceback shows where an
error came from.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    traceback = "--traceback" in words
    words = [w for w in words if w != "--traceback"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("slots").setLevel(logging.INFO)
    from slots.training import Interrupted, RunError, use_compilation_cache

    use_compilation_cache()
    try:
        status = _dispatch(words[0], words[1:])
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, RunError, OSError) as error:
        if traceback:
            raise
        print(f"slots: {error}", file=sys.stderr)
        return error.code if isinstance(error, Interrupted) else 1


def _dispatch(command: str, words: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": _train,
        "eval": _eval,
        "show": _show,
        "list": _list,
    }
    if command not in commands:
        raise ConfigError(
            f"{command!r} is no command{nearest(command, commands) or ';'} "
            f"there are {', '.join(commands)}."
        )
    if {"-h", "--help"} & set(words):
        print(USAGE)
        return 0
    return commands[command](words)


def _split(
    words: list[str], what: str, flags: Sequence[str] = ()
) -> tuple[str, list[str], set[str]]:
    """The one positional argument, the assignments and the flags."""
    given = {w for w in words if w.startswith("-")}
    unknown = given - set(flags)
    if unknown:
        word = min(unknown)
        raise ConfigError(
            f"{word!r} is no option here{nearest(word, [*flags, '--traceback']) or '.'}"
        )
    rest = [w for w in words if w not in given]
    if not rest or "=" in rest[0]:
        raise ConfigError(f"Say which {what} first; see: slots --help")
    for word in rest[1:]:
        if "=" not in word:
            raise ConfigError(f"{word!r} is not of the form key=value.")
    return rest[0], rest[1:], given


def _take(assignments: list[str], key: str) -> str | None:
    """Removes `key=...` from the assignments and returns its last value."""
    found = [a for a in assignments if a.startswith(f"{key}=")]
    for assignment in found:
        assignments.remove(assignment)
    return found[-1].partition("=")[2] if found else None


def _train(words: list[str]) -> int:
    from slots import presets, runs

    target, assignments, _ = _split(words, "preset or run folder")
    run = _take(assignments, "run")
    if (Path(target) / "config.json").is_file():
        if run is not None:
            raise ConfigError("run= names a new run's folder; a run that goes on has one.")
        config, folder = runs.read_config(Path(target)), Path(target)
    else:
        config = presets.load(target)
        folder = runs.default_folder(config.name) if run is None else Path(run)
    config = override(config, assignments)
    print(f"Training {config.name} in {folder}", file=sys.stderr)
    trained = runs.train(config, folder)
    from slots.figures import write_figures

    write_figures(trained)
    slots = _program()
    print(
        f"\nThe run is in {folder}: look at {folder}/figures\n"
        f"What to try next:\n"
        f"  {slots} eval {folder} --json\n"
        f"  {slots} show {folder} count=12\n"
        f"  {slots} train {folder} train.steps={config.train.steps * 2}\n"
        f"  {slots} list",
        file=sys.stderr,
    )
    return 0


def _program() -> str:
    """How to call this program again; after `make demo` the command is not on the path."""
    if shutil.which("slots"):
        return "slots"
    return sys.argv[0] if Path(sys.argv[0]).name == "slots" else f"{sys.executable} -m slots"


def _restore(words: list[str], flags: Sequence[str] = ()) -> tuple[Any, set[str], str | None]:
    from slots import runs

    target, assignments, given = _split(words, "run folder", flags)
    wanted = _take(assignments, "step") or "latest"
    count = _take(assignments, "count")
    member = _take(assignments, "member")
    protocol = _take(assignments, "protocol")
    if protocol is not None:
        assignments.append(f"eval.protocol={protocol}")
    step: int | Literal["latest", "best"]
    if wanted == "best" or wanted == "latest":
        step = "best" if wanted == "best" else "latest"
    elif wanted.isdigit():
        step = int(wanted)
    else:
        raise ConfigError(f"step={wanted!r} should be a number, best or latest.")
    if member is not None and not member.isdecimal():
        raise ConfigError(f"member={member!r} should be a number, counted from 0.")
    run = runs.restore(target, step=step, overrides=assignments)
    return run if member is None else run.member(int(member)), given, count


def _eval(words: list[str]) -> int:
    from slots import runs

    run, given, count = _restore(words, ["--json", "--references"])
    if count is not None:
        raise ConfigError("count= belongs to show; say eval.count= here.")
    result = runs.evaluate(run)
    references = runs.references(run) if "--references" in given else {}
    if "--json" in given:
        found = {
            "run": str(run.folder),
            "step": run.step,
            "seeds": list(run.seeds),
            "protocol": result.protocol.id,
            "metrics": _plain(result.statistics),
            "verdicts": [dataclasses.asdict(verdict) for verdict in result.verdicts],
        }
        if references:
            found["references"] = {name: _plain(values) for name, values in references.items()}
        print(json.dumps(found))
        return 0
    several = len(run.seeds) > 1
    seeds = f"seeds {run.seeds[0]} to {run.seeds[-1]}" if several else f"seed {run.seeds[0]}"
    print(f"{run.folder} at step {run.step:,}, protocol {result.protocol.id}, {seeds}")
    for name, s in result.statistics.items():
        spread, over = (s.seeds_std, f"{len(run.seeds)} seeds, ") if several else (s.stderr, "")
        error = "" if math.isnan(spread) else f" ± {spread:.4f}"
        print(f"  {name:<26} {s.mean:.4f}{error}  ({over}n = {s.count})")
    for seed, verdict in zip(run.seeds, result.verdicts, strict=True):
        print(f"  slots of seed {seed}: {verdict}")
    for number, (name, values) in enumerate(references.items()):
        if number == 0:
            print("without learning" + "".join(f"{metric:>10}" for metric in values))
        print(f"  {name:<14}" + "".join(f"{s.mean:10.4f}" for s in values.values()))
    return 0


def _plain(statistics: "dict[str, Statistic]") -> dict[str, Any]:
    return {
        name: {
            "mean": _number(s.mean),
            "stderr": _number(s.stderr),
            "count": s.count,
            "seeds_mean": _number(s.seeds_mean),
            "seeds_std": _number(s.seeds_std),  # needs at least two seeds
        }
        for name, s in statistics.items()
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _show(words: list[str]) -> int:
    from slots.figures import write_figures

    run, _, count = _restore(words)
    if count is not None and not (count.isdigit() and int(count) > 0):
        raise ConfigError(f"count={count!r} should be a positive number of scenes.")
    for path in write_figures(run, count=int(count or 8)):
        print(path)
    return 0


def _list(words: list[str]) -> int:
    if words:
        raise ConfigError(f"slots list takes no arguments, got {words[0]!r}.")
    from slots import presets
    from slots.data import DataConfig
    from slots.decoders import DecoderConfig
    from slots.encoders import EncoderConfig
    from slots.evaluation import PROTOCOLS
    from slots.initializers import InitializerConfig
    from slots.models import ModelConfig
    from slots.modules import SlotModuleConfig
    from slots.objectives import ObjectiveConfig

    print("presets (slots train NAME)")
    for name, path in presets.presets().items():
        print(f"  {name:<36} {presets.promise(path)}")
    families: dict[str, type[Component]] = {
        "model=": ModelConfig,
        "model.encoder=": EncoderConfig,
        "model.initializer=": InitializerConfig,
        "model.module=": SlotModuleConfig,
        "model.decoder=": DecoderConfig,
        "objectives": ObjectiveConfig,
        "data=": DataConfig,
    }
    for key, family in families.items():
        print(key)
        for name, cls in sorted(family.kinds.items()):
            print(f"  {name:<36} {(cls.__doc__ or '').splitlines()[0]}")
    print("protocol=")
    for name in PROTOCOLS:
        print(f"  {name}")
    return 0
