"""The command `slots`: parse, call, say what went wrong in one sentence."""

import dataclasses
import itertools
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from slots.config import Component, ConfigError, nearest, override

USAGE = """slots: object-centric learning in JAX

  slots train CONFIG [key=value ...]   train a preset, or go on with a run folder
  slots eval RUN [--json] [--references] [key=value ...]   score a run on its held-out split
  slots eval RUN --explain A B         what separates two protocols on the run's masks
  slots score FILE.npz ... [protocol=ID] [truth=FILE.npz]   score masks from any model
  slots probe RUN [key=value ...]      what slots tell of their objects' properties
  slots show RUN [key=value ...]       write its figures to RUN/figures
  slots reproduce [ROW] [--full] [out=DIR] [key=value ...]   run a paper's row; no ROW lists them
  slots data check PATH [--quick]      which published set is there, whether it is whole
  slots list                           presets and everything that can be plugged in

CONFIG is a preset as `slots list` prints it, a Python file with a function config(), or a run
folder. Settings are given by their full path: model.module.num_iterations=5, data=folder
data.path=DIR, train.steps=1000, run=PATH (the run folder). train.seeds=5 trains five members, each
with a seed of its own, as one program. For eval and show, step=best or step=N chooses a checkpoint
(default: the newest), member=I one member (default: eval scores all, show draws the scenes of the
first). protocol=ID scores by a paper's rules, masks=FILE.npz saves the masks that were scored;
--references adds what segmentations without learning score; --traceback shows where an error came
from.
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
        "score": _score,
        "probe": _probe,
        "show": _show,
        "reproduce": _reproduce,
        "data": _data,
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
    from slots.evaluation import protocol as get_protocol

    target, assignments, given = _split(words, "run folder", flags)
    wanted = _take(assignments, "step") or "latest"
    count = _take(assignments, "count")
    member = _take(assignments, "member")
    protocol = _take(assignments, "protocol")
    if protocol is not None:
        asked = get_protocol(protocol).items
        if asked is not None and not any(a.startswith("eval.count=") for a in assignments):
            assignments.append(f"eval.count={asked}")
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
    from slots import rescoring, runs, scores
    from slots.evaluation import protocol

    words, pair = _pair(words, "--explain")
    masks = _take(words, "masks")
    run, given, count = _restore(words, ["--json", "--references"])
    if count is not None:
        raise ConfigError("count= belongs to show; say eval.count= here.")
    if pair:
        return _tell(
            rescoring.explain_run(run, protocol(pair[0]), protocol(pair[1])), "--json" in given
        )
    result = runs.evaluate(run)
    references = runs.references(run) if "--references" in given else {}
    saved = rescoring.save_masks(run, Path(masks)) if masks is not None else []
    if "--json" in given:
        found = {"run": str(run.folder), "step": run.step, **scores.as_data(result, run.seeds)}
        if references:
            found["references"] = _references(references)
        print(json.dumps(found))
        return 0
    print(f"{run.folder} at step {run.step:,}, {scores.describe(result, run.seeds)}")
    _print(scores.lines(result, run.seeds), scores.reference_lines(references))
    for path in saved:
        print(path)
    return 0


def _score(words: list[str]) -> int:
    from slots import rescoring, scores
    from slots.evaluation import merge, protocol
    from slots.evaluation.mask_files import read_masks, score_masks

    words, pair = _pair(words, "--explain")
    names = [word for word in words if "=" not in word and not word.startswith("-")]
    if names and names[0].endswith(".json"):
        return _detections(words)
    rest = [word for word in words if word not in names[1:]]
    _, assignments, given = _split(rest, "file of masks", ["--json", "--references"])
    truth, name = _take(assignments, "truth"), _take(assignments, "protocol")
    if assignments:
        raise ConfigError(f"{assignments[0]!r} is no setting here; there are protocol= and truth=.")
    known = None if truth is None else Path(truth)
    files = [read_masks(Path(path), known) for path in names]

    def score(by: Any) -> Any:
        return merge([score_masks(file, by) for file in files])

    if pair:
        from slots.evaluation.explain import explain

        return _tell(explain(score, protocol(pair[0]), protocol(pair[1])), "--json" in given)
    by = protocol(name or "house/image")
    result = score(by)
    references = rescoring.file_references(files[0], by) if "--references" in given else {}
    if "--json" in given:
        found = {"files": names, **scores.as_data(result, range(len(files)))}
        if references:
            found["references"] = _references(references)
        print(json.dumps(found))
        return 0
    print(f"{' '.join(names)}, {scores.describe(result)}")
    _print(scores.lines(result), scores.reference_lines(references))
    return 0


def _reproduce(words: list[str]) -> int:
    from slots import reproduce
    from slots.published import ROWS

    if not [word for word in words if not word.startswith("-")]:
        for name, row in ROWS.items():
            numbers = ", ".join(f"{n} {mean:.3f}" for n, (mean, _) in row.values.items())
            print(f"  {name:<42} {row.paper}: {numbers or 'no number could be had'}")
        return 0
    name, assignments, given = _split(words, "row", ["--full", "--json"])
    row = reproduce.find(name)
    out = Path(_take(assignments, "out") or f"reproductions/{name}")
    command = ["slots", "reproduce", *words]
    card = reproduce.reproduce(
        row, out, full="--full" in given, settings=assignments, command=command
    )
    _print([json.dumps(card)] if "--json" in given else reproduce.card_lines(card))
    print(f"The card is in {out}", file=sys.stderr)
    return 0


def _probe(words: list[str]) -> int:
    from slots.evaluation.probes import ProbeConfig, probe

    own = {field.name for field in dataclasses.fields(ProbeConfig)}
    mine = [word for word in words if word.partition("=")[0] in own]
    run, given, count = _restore([word for word in words if word not in mine], ["--json"])
    if count is not None:
        raise ConfigError("count= belongs to show; say test= here.")
    result = probe(run, override(ProbeConfig(), mine))
    if "--json" in given:
        print(json.dumps({"run": str(run.folder), "step": run.step, **result.as_data()}))
        return 0
    print(f"{run.folder} at step {run.step:,}")
    _print(result.lines())
    return 0


def _data(words: list[str]) -> int:
    from slots.data.check import check
    from slots.data.check_report import lines

    if not words or words[0] != "check":
        raise ConfigError("slots data has one command: slots data check PATH [--quick]")
    target, assignments, given = _split(words[1:], "file or folder", ["--quick"])
    if assignments:
        raise ConfigError(f"{assignments[0]!r} is no setting here.")
    report = check(Path(target), quick="--quick" in given)
    _print(lines(report))
    return 0 if report.sound else 1


def _detections(words: list[str]) -> int:
    """Average precision of a detector's results in COCO's format."""
    from slots.evaluation.detection import detection_ap, result_kinds

    results, assignments, given = _split(words, "file of results", ["--json"])
    truth, name = _take(assignments, "truth"), _take(assignments, "protocol")
    if truth is None or assignments or name not in (None, "transfer/coco-1x"):
        raise ConfigError("Results are scored as: slots score RESULTS.json truth=ANNOTATIONS.json")
    found = {
        kind: detection_ap(Path(truth), Path(results), kind) for kind in result_kinds(Path(results))
    }
    if "--json" in given:
        data = {
            k: {n: None if math.isnan(x) else x for n, x in v.items()} for k, v in found.items()
        }
        print(json.dumps({"file": results, "protocol": "transfer/coco-1x", "metrics": data}))
        return 0
    for kind, values in found.items():
        of = f"{values.pop('pictures'):,.0f} pictures, {values.pop('annotations'):,.0f} objects"
        print(f"{results}, protocol transfer/coco-1x, {kind}, {of}")
        _print(f"  {name:<6} {value:.4f}" for name, value in values.items())
    return 0


def _pair(words: list[str], flag: str) -> tuple[list[str], list[str]]:
    """Takes `flag A B` out of the words."""
    if flag not in words:
        return words, []
    place = words.index(flag)
    pair = words[place + 1 : place + 3]
    if len(pair) < 2 or any("=" in word or word.startswith("-") for word in pair):
        raise ConfigError(f"{flag} wants two protocols, as in {flag} house/image mbo/lsd.")
    return words[:place] + words[place + 3 :], pair


def _tell(path: Any, as_json: bool) -> int:
    from slots import scores

    if as_json:
        print(json.dumps(scores.explained_data(path)))
    else:
        _print(scores.explained(path))
    return 0


def _references(references: dict[str, Any]) -> dict[str, Any]:
    from slots import scores

    return {name: scores.as_data(one, ())["metrics"] for name, one in references.items()}


def _print(*parts: Iterable[str]) -> None:
    for line in itertools.chain(*parts):
        print(line)


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
    for name, one in PROTOCOLS.items():
        print(f"  {name:<36} {one.used_by}")
    return 0
