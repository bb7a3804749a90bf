"""What is given bad inputs: each target makes good files once, and spoils them every time anew."""

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tiny import same_bits, tiny, trained

from slots import presets, run_folder, runs
from slots.cli import main
from slots.config import ConfigError, from_data, leaves, override, to_data
from slots.evaluation import protocol
from slots.evaluation.mask_files import read_masks, score_masks
from slots.experiment import ExperimentConfig
from slots.report import REPORT, write_report
from slots.runs import Run
from slots.sweep import check, gather, listed, read
from slots.training import Checkpoints, RunError, read_records

from .damage import Random, archive, damaged, text, wrong

SENTENCES = (ConfigError, RunError)


@dataclasses.dataclass(frozen=True)
class Target:
    """Something that reads what others wrote."""

    name: str
    prepare: Callable[[Path], Any]
    """Makes what is spoilt, in an empty folder."""
    attempt: Callable[[Any, Random], None]
    """Spoils it and reads it; raises one of `refusals`, or takes it."""
    share: float
    """Of all inputs; what is slow gets few."""
    refusals: tuple[type[Exception], ...] = SENTENCES
    """What refuses an input, in one sentence."""


@contextlib.contextmanager
def instead(path: Path, data: bytes) -> Iterator[None]:
    """The file holds something else for a while."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


# ---- settings --------------------


def _settings(folder: Path) -> Any:
    return [to_data(presets.load(name)) for name in presets.presets()]


def _from_data(data: list[Any], rng: Random) -> None:
    spoilt = text(rng, data[int(rng.integers(len(data)))])
    path = Path("config.json")
    path.write_bytes(spoilt)
    run_folder.read_config(Path())


def _keys(folder: Path) -> Any:
    config = tiny()
    return config, [key for key, _ in leaves(config)]


def _override(state: Any, rng: Random) -> None:
    config, keys = state
    key = str(rng.choice(keys))
    if rng.random() < 0.3:
        key = damaged(rng, key.encode()).decode("latin-1")
    value = wrong(rng)
    told = value if isinstance(value, str) or rng.random() < 0.5 else _json(value)
    words = [f"{key}={told}", damaged(rng, f"{key}={told}".encode()).decode("latin-1")]
    changed = override(config, [words[int(rng.integers(2))]])
    from_data(ExperimentConfig, to_data(changed))


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # Python writes no number of so many digits
        return "9" * 5000


def _names(folder: Path) -> Any:
    return [*presets.presets(), "/etc/passwd", "..", "slots.cli", "os.system"]


def _name(names: list[str], rng: Random) -> None:
    name = damaged(rng, names[int(rng.integers(len(names)))].encode()).decode("latin-1")
    if rng.random() < 0.5:
        protocol(name)
    elif name not in names:
        presets.load(name)


def _sweep(folder: Path) -> Any:
    (folder / "records").mkdir()
    made = {
        "preset": "slot_attention/tetrominoes_cpu",
        "settings": ["train.steps=3"],
        "points": [["train.seed=0"], ["train.seed=1"]],
        "by": "fg_ari",
    }
    score = {"mean": 0.5, "std": 0.1, "members": [0.5], "count": 16}
    settings = [*made["settings"], *made["points"][0]]
    record = {"preset": made["preset"], "settings": settings, "seeds": [0], "fg_ari": score}
    return made, record


def _read_sweep(good: Any, rng: Random) -> None:
    made, record = good
    Path("sweep.json").write_text(json.dumps(made))
    Path("records/0000.json").write_text(json.dumps(record))
    kind = rng.random()
    if kind < 0.3:
        Path("points.txt").write_bytes(
            damaged(rng, b"train.seed=0 'model.num_slots=3'\n# remark\n")
        )
        listed(Path("points.txt"))
        return
    path, whole = ("sweep.json", made) if kind < 0.6 else ("records/0000.json", record)
    Path(path).write_bytes(text(rng, whole))
    sweep = read(Path())
    check(sweep)
    gather(sweep)


WORDS = (
    *("eval", "show", "score", "probe", "data", "list", "sweep", "reproduce", "train"),
    *("check", "show", "nowhere", ".", "/dev/null", "\x00", "--json", "--html", "--traceback"),
    *("step=-1", "step=best", "member=9", "count=0", "out=", "=", "==", "a=b", "protocol=x", "é"),
)


def _words(_: Any, rng: Random) -> None:
    """On the command line, where no error may pass."""
    words = [str(rng.choice(WORDS)) for _ in range(int(rng.integers(1, 5)))]
    if "--traceback" in words or words[0] == "list":
        return
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    told = err.getvalue()
    if status and not told.startswith("slots: "):
        raise AssertionError(f"{words} ended with {status} and said {told!r}")
    if status:
        raise ConfigError(told.removeprefix("slots: ").rstrip("\n"))


# ---- run folders --------------------


def _run(folder: Path) -> Any:
    shutil.copytree(trained()[0], folder / "run")
    return runs.restore(folder / "run")


def _checkpoint(folder: Path) -> tuple[Run, Any]:
    run = _run(folder)
    return run, _state(run)


def _state(run: Run) -> Any:
    with contextlib.closing(Checkpoints(run.folder / "checkpoints")) as checkpoints:
        return checkpoints.restore(run.experiment.trainer.abstract_state(), 6)[0]


def _restore(whole: tuple[Run, Any], rng: Random) -> None:
    run, state = whole
    files = [path for path in sorted(run.folder.glob("checkpoints/6/**/*")) if path.is_file()]
    path = files[int(rng.integers(len(files)))]
    with instead(path, damaged(rng, path.read_bytes())):
        assert same_bits(_state(run), state), f"{path.name} is damaged and other numbers come back"


def _records(run: Run, rng: Random) -> None:
    with _spoilt_records(run, rng):
        records = read_records(run.folder / "metrics.jsonl")
    assert all(isinstance(record["step"], int) and "kind" in record for record in records)


def _report(run: Run, rng: Random) -> None:
    spoilt = text(rng, json.loads((run.folder / "versions.json").read_text()))
    with _spoilt_records(run, rng), instead(run.folder / "versions.json", spoilt):
        write_report(run, count=1)
    page = (run.folder / REPORT).read_text()
    assert page.count("<script") == 2


def _spoilt_records(run: Run, rng: Random) -> Any:
    path = run.folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    for _ in range(3):
        place = int(rng.integers(len(lines)))
        lines[place] = text(rng, json.loads(path.read_bytes().splitlines()[place]))
    return instead(path, b"\n".join(lines))


# ---- mask files --------------------


def _masks(folder: Path) -> Any:
    draw = np.random.default_rng(0)
    weights = draw.random((4, 3, 6, 6)).astype(np.float32)
    return {
        "masks": weights / weights.sum(1, keepdims=True),
        "segmentation": draw.integers(0, 3, (4, 6, 6)).astype(np.int32),
        "index": np.arange(4),
        "ignore": draw.random((4, 6, 6)) < 0.1,
    }


def _mask_file(good: Any, rng: Random) -> None:
    path, trap = Path("masks.npz"), Path("trap").absolute()
    path.write_bytes(archive(rng, good, trap))
    if rng.random() < 0.2:
        path.write_bytes(damaged(rng, path.read_bytes()))
    try:
        found = read_masks(path)
        if found.count < 10:  # what a true file of so many slots could hold
            score_masks(found, protocol("house/image"))
    finally:
        assert not trap.exists(), "a pickle was read"


TARGETS = (
    Target("settings of a run", _settings, _from_data, 0.25),
    Target("settings on the command line", _keys, _override, 0.2),
    Target("names of presets and protocols", _names, _name, 0.05),
    Target("sweeps and lists", _sweep, _read_sweep, 0.05),
    Target("words on the command line", lambda folder: None, _words, 0.05),
    Target("checkpoints", _checkpoint, _restore, 0.02),
    Target("records of a run", _run, _records, 0.05),
    Target("report of a run", _run, _report, 0.003),
    Target("mask files", _masks, _mask_file, 0.1),
)
