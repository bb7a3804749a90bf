"""The command line: what it prints, what it leaves behind, and what it says about mistakes."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny import OVERRIDES, PRESET, data_files, trained, write_pictures

from slots.cli import main
from slots.cli.running import program
from slots.config import ConfigError
from slots.evaluation import MASK_METRICS, REFERENCES
from slots.presets import presets
from slots.training import read_records

EXPLAIN = ("--explain", "house/image", "mbo/ocb")
METRICS = {"fg_ari", "ari", "mbo", "miou", "corloc", "mse_mean"}

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True, scope="module")
def _silent_again() -> Iterator[None]:
    level = logging.getLogger("slots").level
    yield
    logging.getLogger("slots").setLevel(level)  # the command line turns its reports on


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command: exit status, stdout, stderr."""

    def call(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def refusal(cli: Cli) -> Callable[..., str]:
    """Runs a command that must fail, and returns its one sentence."""

    def call(*words: Any) -> str:
        status, out, err = cli(*words)
        assert status == 1
        assert out == ""
        last = err.splitlines()[-1]
        assert err.count("slots: ") == 1
        assert last.startswith("slots: ")
        assert "Traceback" not in err
        return last.removeprefix("slots: ")

    return call


@pytest.fixture
def run() -> Path:
    """The folder of a trained run, to be read only."""
    return trained()[0]


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


class TestTrain:
    def test_leaves_everything_in_the_run_folder(self, run: Path) -> None:
        names = {path.name for path in run.iterdir()}
        assert names == {
            ".lock",
            "checkpoints",
            "config.json",
            "evaluations",
            "figures",
            "metrics.jsonl",
            "parameters.txt",
            "report.html",
            "tensorboard",
            "versions.json",
        }
        assert {p.name for p in (run / "checkpoints").iterdir() if p.is_dir()} >= {"4", "6"}
        assert any((run / "tensorboard").iterdir())
        assert all(p.stat().st_size > 1000 for p in (run / "figures").glob("*.png"))

    def test_says_what_happens_and_what_to_do_next(self, run: Path) -> None:
        _, out, err = trained()
        assert out == ""
        assert err.splitlines()[0] == f"Training {PRESET} in {run}"
        assert "step 6/6 | loss " in err
        assert "step 6 val  fg_ari " in err
        for command in (f"eval {run} --json", f"show {run}", f"train {run} train.steps=12"):
            assert f"  {program()} {command}" in err

    def test_what_to_do_next_works_when_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
        assert program() == "slots"
        monkeypatch.setattr("shutil.which", lambda name: None)
        monkeypatch.setattr(sys, "argv", [".venv/bin/slots", "train"])
        assert program() == ".venv/bin/slots"
        monkeypatch.setattr(sys, "argv", ["/somewhere/slots/__main__.py", "train"])
        assert program() == f"{sys.executable} -m slots"

    def test_goes_on_with_a_run_folder(
        self, copy: Path, cli: Cli, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert cli("train", copy, "train.steps=8")[0] == 0
        assert "Going on from step 6." in caplog.text
        steps = [r["step"] for r in read_records(copy / "metrics.jsonl") if r["kind"] == "train"]
        assert steps == list(range(1, 9))
        assert json.loads((copy / "config.json").read_text())["train"]["steps"] == 8

    def test_a_finished_run_stays_as_it_is(self, copy: Path, cli: Cli) -> None:
        before = (copy / "metrics.jsonl").read_bytes()
        assert cli("train", copy)[0] == 0
        assert (copy / "metrics.jsonl").read_bytes() == before


class TestEval:
    def test_json_is_one_object_and_nothing_else(self, run: Path, cli: Cli) -> None:
        status, out, _ = cli("eval", run, "--json")
        assert status == 0
        found = json.loads(out)
        assert out.count("\n") == 1
        assert list(found) == ["run", "step", "seeds", "protocol", "items", "metrics", "verdicts"]
        assert found["items"] == {"scored": 16, "asked": None}
        (verdict,) = found["verdicts"]
        assert set(verdict) == {"name", "reason", "warning"}
        assert found["run"] == str(run)
        assert found["step"] == 6
        assert found["seeds"] == [0]
        assert found["protocol"] == "house/image"
        assert set(found["metrics"]) >= METRICS
        for name, values in found["metrics"].items():
            assert list(values) == ["mean", "stderr", "count", "seeds_mean", "seeds_std"], name
            assert values["count"] == 16
            assert values["mean"] == values["seeds_mean"]
            assert values["seeds_std"] is None
        (record,) = (
            r for r in read_records(run / "metrics.jsonl") if r["kind"] == "val" and r["step"] == 6
        )
        for name, values in found["metrics"].items():
            assert values["mean"] == pytest.approx(record[name]["mean"], rel=1e-4, abs=1e-5)

    def test_references_stand_beside_the_model(self, run: Path, cli: Cli) -> None:
        _, out, _ = cli("eval", run, "--json", "--references")
        found = json.loads(out)["references"]
        assert set(found) == set(REFERENCES)
        assert found["one segment"]["fg_ari"]["mean"] == 0
        assert found["grid"]["mbo"]["count"] == 16
        status, out, _ = cli("eval", run, "--references")
        assert status == 0
        *_, head, one, _, _, _, components = out.splitlines()
        names = [name for name in MASK_METRICS if not name.endswith("_class")]
        assert head.split() == ["without", "learning", *names]
        assert one.split()[:3] == ["one", "segment", "0.0000"]
        mean = found["components"]["fg_ari"]["mean"]
        assert components.split()[:2] == ["components", f"{mean:.4f}"]

    def test_falls_back_from_a_damaged_checkpoint(
        self, copy: Path, cli: Cli, caplog: pytest.LogCaptureFixture
    ) -> None:
        for file in data_files(copy / "checkpoints/6"):
            file.write_bytes(b"")
        status, out, _ = cli("eval", copy, "--json")
        assert status == 0
        assert json.loads(out)["step"] == 4
        assert "Checkpoint 6 is damaged and passed over" in caplog.text

    def test_undefined_numbers_are_null(self, run: Path, cli: Cli) -> None:
        _, out, _ = cli("eval", run, "--json", "eval.count=1")
        values = json.loads(out)["metrics"]["ari"]
        assert values["stderr"] is None
        assert values["count"] == 1
        assert "NaN" not in out

    def test_reads_as_a_table(self, run: Path, cli: Cli) -> None:
        status, out, _ = cli("eval", run, "step=4")
        assert status == 0
        head, *rows = out.splitlines()
        by = "protocol house/image, 16 examples, seed 0 (the protocol asks for 3)"
        assert head == f"{run} at step 4, {by}"
        assert rows[0].split()[0] == "fg_ari"
        *rows, last = rows
        assert last.startswith("  slots of seed 0: ")
        assert all("(n = 16)" in row for row in rows)
        # What belongs to all pictures together has no error over them.
        assert all(("±" in row) != row.startswith("  health/") for row in rows)

    @pytest.mark.parametrize(
        "settings",
        [
            ("model.num_slots=5",),
            ("model.module.eval_iterations=2",),
            ("eval.count=8",),
            ("eval.count=8", "protocol=house/image"),
            ("step=best",),
        ],
        ids=str,
    )
    def test_settings_may_differ_from_training(
        self, settings: tuple[str, ...], run: Path, cli: Cli
    ) -> None:
        status, out, _ = cli("eval", run, "--json", *settings)
        assert status == 0
        count = 8 if "eval.count=8" in settings else 16
        assert json.loads(out)["metrics"]["fg_ari"]["count"] == count


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The same numbers, null where the other is."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = other[name]
        assert value is same if value is None else value == pytest.approx(same, rel=1e-6)


class TestProtocols:
    def test_a_papers_rules(self, run: Path, cli: Cli) -> None:
        status, _, err = cli("eval", run, "protocol=fg-ari/slot-attention")
        assert (status, err) == (
            1,
            "slots: eval.count=320, but the split 'val' holds 16 examples.\n",
        )
        status, out, _ = cli("eval", run, "protocol=fg-ari/slot-attention", "eval.count=16")
        assert status == 0
        assert "protocol fg-ari/slot-attention, 16 examples (the protocol asks for 320)" in out

    def test_saved_masks_give_the_same_numbers(self, run: Path, cli: Cli, tmp_path: Path) -> None:
        masks = tmp_path / "masks.npz"
        found = json.loads(cli("eval", run, "--json", f"masks={masks}")[1])
        status, out, _ = cli("score", masks, "--json")
        assert status == 0
        scored = json.loads(out)
        assert scored["files"] == [str(masks)]
        assert scored["items"] == {"scored": 16, "asked": None}
        for name, values in scored["metrics"].items():
            assert_close(values, found["metrics"][name])
        status, out, _ = cli("score", masks, "--references")
        assert status == 0
        assert out.splitlines()[0] == f"{masks}, protocol house/image, 16 examples"
        assert out.splitlines()[-1].split()[0] == "components"

    def test_several_files_are_seeds(self, run: Path, cli: Cli, tmp_path: Path) -> None:
        files = [tmp_path / f"{seed}.npz" for seed in (0, 1)]
        for seed, file in enumerate(files):
            cli("eval", run, f"eval.seed={seed}", f"masks={file}")
        found = json.loads(cli("score", *files, "--json")[1])
        assert found["seeds"] == [0, 1]
        assert found["metrics"]["mbo"]["seeds_std"] > 0

    def test_one_field_after_the_other(self, run: Path, cli: Cli, tmp_path: Path) -> None:
        masks = tmp_path / "masks.npz"
        cli("eval", run, f"masks={masks}")
        status, out, _ = cli("eval", run, *EXPLAIN, "--json")
        assert status == 0
        path = json.loads(out)
        assert [one["field"] for one in path] == [None, "masks", "size", "background"]
        other = json.loads(cli("score", masks, *EXPLAIN, "--json")[1])
        for one, same in zip(path, other, strict=True):
            for name, values in one["metrics"].items():
                assert_close(values, same["metrics"][name])
        table = cli("score", masks, *EXPLAIN)[1].splitlines()
        assert table[0].split() == ["fg_ari", "ari", "mbo", "miou", "recall", "corloc"]
        assert table[1].startswith("house/image")
        assert table[4].startswith("background: False → True")

    def test_results_of_a_detector(self, cli: Cli, tmp_path: Path) -> None:
        image = {"id": 7, "file_name": "a.jpg", "height": 20, "width": 30}
        box = {"image_id": 7, "category_id": 3, "bbox": [2, 3, 8, 9]}
        truth = {
            "images": [image],
            "categories": [{"id": 3, "name": "thing"}],
            "annotations": [{**box, "id": 1, "area": 72, "iscrowd": 0}],
        }
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "found.json").write_text(json.dumps([{**box, "score": 0.5}]))
        status, out, _ = cli("score", tmp_path / "found.json", f"truth={tmp_path}/truth.json")
        assert status == 0
        head, *rows = out.splitlines()
        assert head.endswith("protocol transfer/coco-1x, bbox, 1 pictures, 1 objects")
        assert rows[0].split() == ["AP", "1.0000"]
        status, _, err = cli("score", tmp_path / "found.json")
        assert status == 1
        assert "truth=ANNOTATIONS.json" in err

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["eval", "RUN", "--explain", "house/image"], "--explain wants two protocols"),
            (["eval", "RUN", *EXPLAIN, "--references"], "goes with neither masks= nor"),
            (["eval", "RUN", *EXPLAIN, "masks=a.npz"], "goes with neither masks= nor"),
            (["eval", "RUN", "--explain", "house/image", "mbo/oc"], "did you mean 'mbo/ocb'"),
            (["score", "nowhere.npz"], "nowhere.npz cannot be read"),
            (["score"], "Say which file of masks first"),
            (["score", "a.npz", "step=3"], "'step=3' is no setting here"),
            (["eval", "RUN", "masks=a.npy"], "masks=a.npy should end in .npz"),
        ],
        ids=str,
    )
    def test_mistakes(self, words: list[str], sentence: str, run: Path, cli: Cli) -> None:
        status, _, err = cli(*(run if word == "RUN" else word for word in words))
        assert status == 1
        assert sentence in err
        assert err.count("\n") == 1


class TestShow:
    def test_writes_the_figures_and_names_them(self, copy: Path, cli: Cli) -> None:
        shutil.rmtree(copy / "figures")
        status, out, _ = cli("show", copy, "count=3")
        assert status == 0
        paths = [Path(line) for line in out.splitlines()]
        assert {p.name for p in paths} >= {"reconstructions.png", "slots.png", "curves.png"}
        for path in paths:
            assert path.parent == copy / "figures"
            with Image.open(path) as picture:
                picture.verify()

    def test_undefined_numbers_leave_a_gap(self, copy: Path, cli: Cli) -> None:
        path = copy / "metrics.jsonl"
        with path.open("a") as file:
            undefined = {"mean": None, "stderr": None, "count": 0}
            file.write(json.dumps({"step": 7, "kind": "val", "fg_ari": undefined}) + "\n")
            file.write(json.dumps({"step": 7, "kind": "train", "loss": None}) + "\n")
        status, _, err = cli("show", copy, "count=1")
        assert status == 0, err


class TestProbe:
    def test_tells_properties(self, run: Path, cli: Cli) -> None:
        small = ("train=16", "test=16", "steps=5", "batch=8")
        status, out, _ = cli("probe", run, *small, "kind=mlp")
        assert status == 0
        head, what, *rows = out.splitlines()
        assert head == f"{run} at step 6"
        assert what.startswith("mlp probe, slots matched by decoder masks: 16 examples")
        assert "color_code" in [row.split()[0] for row in rows]
        found = json.loads(cli("probe", run, "--json", *small)[1])
        assert found["properties"]["x"]["kind"] == "numeric"
        assert found["settings"]["steps"] == 5

    def test_mistakes(self, run: Path, cli: Cli) -> None:
        status, _, err = cli("probe", run, "steps=0")
        assert (status, err) == (1, "slots: steps=0 must be at least 1.\n")


class TestData:
    def test_a_folder_of_pictures(self, cli: Cli, tmp_path: Path) -> None:
        write_pictures(tmp_path / "train", 3)
        status, out, _ = cli("data", "check", tmp_path)
        assert status == 0
        assert out.splitlines()[0] == f"{tmp_path}: pictures in a folder"
        assert f"data.path={tmp_path}" in out

    def test_a_damaged_one(self, cli: Cli, tmp_path: Path) -> None:
        write_pictures(tmp_path / "train", 3)
        next((tmp_path / "train").rglob("*.png")).write_bytes(b"")
        status, out, _ = cli("data", "check", tmp_path)
        assert status == 1
        assert "problem" in out

    def test_scenes_as_a_preset_gets_them(self, cli: Cli, tmp_path: Path) -> None:
        out = tmp_path / "figures" / "scenes.png"
        status, text, _ = cli("data", "show", PRESET, f"out={out}", "data.held_out_size=5")
        assert status == 0
        assert text.splitlines() == [
            "val: 5 examples of 35×35×3, labels up to 3, color float32[3], color_code int32, "
            "shape int32, x float32, y float32",
            f"the first 5 are in {out}",
        ]
        assert out.stat().st_size > 5000

    def test_scenes_that_are_trained_on(self, cli: Cli, tmp_path: Path) -> None:
        write_pictures(tmp_path / "train", 3)
        words = ("data=folder", f"data.path={tmp_path}", "split=train", "count=2")
        status, text, _ = cli("data", "show", PRESET, *words, f"out={tmp_path}/a.png")
        assert status == 0
        assert text.startswith("train: 2 examples of ")
        assert text.endswith(f"the first 2 are in {tmp_path}/a.png\n")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["data"], "slots data check PATH"),
            (["data", "show"], "Say which preset first"),
            (["data", "show", PRESET, "split=vall"], "vall"),
            (["data", "show", PRESET, "count=0"], "count='0' should be a positive number"),
            (["data", "show", PRESET, "data=coco"], "data.path is empty"),
            (["data", "check"], "Say which file or folder first"),
            (["data", "check", "nowhere"], "nowhere does not exist"),
            (["data", "check", ".", "a=3"], "'a=3' is no setting here"),
        ],
        ids=str,
    )
    def test_mistakes(self, words: list[str], sentence: str, cli: Cli) -> None:
        status, _, err = cli(*words)
        assert status == 1
        assert sentence in err


class TestList:
    def test_each_thing_stands_there_once(self, cli: Cli) -> None:
        status, out, err = cli("list")
        assert status == 0
        assert err == ""
        sections: dict[str, list[str]] = {}
        for line in out.splitlines():
            if line.startswith("  "):
                sections[head].append(line.split()[0])
            else:
                head = line
                sections[head] = []
        assert sections["presets (slots train NAME)"] == sorted(presets())
        assert sections["data="] == sorted(sections["data="])
        assert {"coco", "folder", "multi_object", "tetrominoes", "tfds"} <= set(sections["data="])
        assert "slot_attention" in sections["model.module="]
        assert {"cnn", "windows"} <= set(sections["model.encoder="])
        assert {"broadcast", "mlp"} <= set(sections["model.decoder="])
        assert {"gaussian", "learned"} <= set(sections["model.initializer="])
        assert {"component_error", "reconstruction"} <= set(sections["objectives"])
        assert "house/image" in sections["protocol="]
        for names in sections.values():
            assert len(names) == len(set(names)) > 0

    def test_every_part_is_described(self, cli: Cli) -> None:
        lines = [line for line in cli("list")[1].splitlines() if line.startswith("  ")]
        assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


class TestHelp:
    @pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["train", "--help"]])
    def test_is_given(self, words: list[str], cli: Cli) -> None:
        status, out, _ = cli(*words)
        assert status == 0
        for command in ("train", "eval", "score", "show", "reproduce", "list"):
            assert f"slots {command}" in out

    def test_no_words_at_all(self, cli: Cli) -> None:
        status, out, _ = cli()
        assert status == 2
        assert "slots train" in out


def says(message: str, *parts: str) -> None:
    """The message holds all parts and is one sentence without loose ends."""
    for part in parts:
        assert part in message
    assert not message.endswith(("?.", "..", "?;"))


class TestMistypedWords:
    @pytest.mark.parametrize(
        ("words", "parts"),
        [
            (["trian", PRESET], ["'trian'", "'train'"]),
            (
                ["zzz"],
                [
                    "'zzz'",
                    "train, eval, score, probe, show, reproduce, sweep, selftest, data, list",
                ],
            ),
            (["train"], ["preset or run folder", "slots --help"]),
            (["train", "train.steps=3"], ["preset or run folder"]),
            (["eval"], ["run folder"]),
            (["eval", "--jsn"], ["'--jsn'", "'--json'"]),
            (["train", PRESET, "--json"], ["'--json'", "no option"]),
            (["train", PRESET, "more"], ["'more'", "key=value"]),
            (["train", "slot_attention/tetrominos"], ["'slot_attention/tetrominoes'"]),
            (["train", PRESET, "trian.steps=3"], ["trian.steps", "'train'", "ExperimentConfig"]),
            (["train", PRESET, "train.step=3"], ["train.step", "'steps'", "TrainConfig"]),
            (["train", PRESET, "train.steps=many"], ["train.steps='many'", "int"]),
            (["train", PRESET, "train.steps=0"], ["train.steps=0", "at least 1"]),
            (["train", PRESET, "model.module=slot_atention"], ["'slot_attention'"]),
            (["train", PRESET, "train=3"], ["train", "group of settings"]),
            (["train", PRESET, "name=${oc.env:HOME}"], ["name", "not allowed"]),
            (["train", PRESET, "model.decoder.hidden=[3"], ["model.decoder.hidden"]),
            (["show", "nowhere", "step=x"], ["step='x'"]),
            (["list", "all"], ["'all'", "no arguments"]),
        ],
        ids=" ".join,
    )
    def test_one_sentence(
        self,
        words: list[str],
        parts: list[str],
        refusal: Callable[..., str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        says(refusal(*words), *parts)
        assert list(tmp_path.iterdir()) == []

    def test_traceback_is_given_on_demand(self) -> None:
        with pytest.raises(ConfigError, match="has no setting"):
            main(["train", PRESET, "train.step=3", "--traceback"])


def test_stopped_by_ctrl_c_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("slots.cli.listing.everything", interrupt)
    status, out, err = cli("list")
    assert (status, out) == (130, "")
    assert err == "slots: Stopped by SIGINT at once; what was saved before is safe.\n"


class TestShapes:
    @pytest.mark.parametrize(
        ("settings", "parts"),
        [
            (["train.batch_size=9", "mesh.data=2"], ["train.batch_size=9", "multiple of 2"]),
            (["train.accumulate=3"], ["train.batch_size=8", "train.accumulate=3"]),
            (["model.module.num_heads=3"], ["num_heads=3", "16"]),
            (["mesh.data=99", "train.batch_size=99"], ["mesh.data=99", "devices"]),
            (["mesh.tensor=2"], ["mesh.tensor=2", "mesh.rules"]),
            (["eval.count=17"], ["eval.count=17", "16"]),
            (["eval.split=tset"], ["tset"]),
            (["eval.split=train"], ["train", "held out"]),
            (["eval.protocol=house/imag"], ["house/imag"]),
            (["optimizer.rules=[{pattern: decodr/.*}]"], ["optimizer.rules", "decodr/.*"]),
        ],
        ids=str,
    )
    def test_one_sentence_before_anything_is_written(
        self, settings: list[str], parts: list[str], refusal: Callable[..., str], tmp_path: Path
    ) -> None:
        folder = tmp_path / "run"
        says(refusal("train", PRESET, *OVERRIDES, *settings, f"run={folder}"), *parts)
        assert not folder.exists()


class TestRunFolders:
    def test_of_another_experiment(self, run: Path, refusal: Callable[..., str]) -> None:
        message = refusal("train", PRESET, *OVERRIDES, "model.slot_dim=8", f"run={run}")
        says(message, str(run), "another experiment", "only train.steps")
        says(message, "model.slot_dim is 16 there and 8 here")

    def test_with_other_settings(self, run: Path, refusal: Callable[..., str]) -> None:
        says(refusal("train", run, "train.seed=9"), "train.seed is 0 there and 9 here")

    def test_with_fewer_steps(self, run: Path, refusal: Callable[..., str]) -> None:
        says(refusal("train", run, "train.steps=5"), "train.steps is 6 there and 5 here")

    def test_named_twice(self, run: Path, refusal: Callable[..., str]) -> None:
        says(refusal("train", run, "run=elsewhere"), "run=")

    @pytest.mark.parametrize("command", ["eval", "show"])
    def test_that_are_no_runs(
        self, command: str, refusal: Callable[..., str], tmp_path: Path
    ) -> None:
        says(refusal(command, tmp_path), str(tmp_path), "no run folder")
        says(refusal(command, tmp_path / "nowhere"), "nowhere", "no run folder")
        (tmp_path / "file").write_text("x")
        says(refusal(command, tmp_path / "file"), "file")

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("", ["config.json", "cannot be read as JSON"]),
            ('{"name": "x", "model": {', ["config.json", "cannot be read as JSON"]),
            ("\x00\xff", ["config.json", "cannot be read as JSON"]),
            ("[]", ["config.json", "group of settings"]),
            ("3", ["config.json", "group of settings"]),
            ("[" * 100_000, ["config.json", "cannot be read as JSON"]),
            ("{}", ["config.json", "name"]),
        ],
        ids=["empty", "cut", "binary", "list", "number", "deep", "nothing"],
    )
    def test_with_a_broken_config(
        self, text: str, parts: list[str], copy: Path, refusal: Callable[..., str]
    ) -> None:
        (copy / "config.json").write_bytes(text.encode("latin-1"))
        for command in ("eval", "train"):
            says(refusal(command, copy), *parts)

    @pytest.mark.parametrize(
        ("path", "value", "parts"),
        [
            (("model", "module", "kind"), "slot_atention", ["model.module", "'slot_attention'"]),
            (("model", "module", "kind"), "os.system", ["model.module", "'os.system'"]),
            (("model", "module", "extra"), 1, ["model.module.extra"]),
            (("train", "steps"), "many", ["train.steps", "int"]),
            (("train",), [], ["train", "group of settings"]),
            (("name",), "${oc.env:HOME}", ["name", "not allowed"]),
        ],
        ids=str,
    )
    def test_with_a_strangers_config(
        self,
        path: tuple[str, ...],
        value: Any,
        parts: list[str],
        copy: Path,
        refusal: Callable[..., str],
    ) -> None:
        data = json.loads((copy / "config.json").read_text())
        place = data
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        (copy / "config.json").write_text(json.dumps(data))
        says(refusal("eval", copy), "config.json", *parts)

    def test_without_checkpoints(self, copy: Path, refusal: Callable[..., str]) -> None:
        shutil.rmtree(copy / "checkpoints")
        says(refusal("eval", copy), str(copy / "checkpoints"), "no checkpoints")
        (copy / "checkpoints").mkdir()
        says(refusal("eval", copy), str(copy / "checkpoints"), "no finished checkpoint")

    def test_without_that_step(self, run: Path, refusal: Callable[..., str]) -> None:
        says(refusal("eval", run, "step=999"), "999", "[6, 4")
        says(refusal("eval", run, "step=soon"), "step='soon'", "latest")

    def test_with_parameters_of_another_shape(self, run: Path, refusal: Callable[..., str]) -> None:
        says(refusal("eval", run, "model.slot_dim=8"), "params.", "float32[", "it holds")

    def test_with_options_of_another_command(self, run: Path, refusal: Callable[..., str]) -> None:
        says(refusal("eval", run, "count=3"), "eval.count")
        says(refusal("show", run, "count=none"), "count='none'", "positive number")
        says(refusal("show", run, "--json"), "'--json'")
        says(refusal("show", run, "other"), "'other'", "side by side", "--html")
        says(refusal("show", run, "other", "third", "--html"), "'third'", "two runs")
        says(refusal("show", run, "nowhere", "--html"), "nowhere is no run folder")

    def test_with_only_damaged_checkpoints(self, copy: Path, refusal: Callable[..., str]) -> None:
        for file in (copy / "checkpoints").glob("*/arrays/**/*"):
            if file.is_file():
                file.write_bytes(b"")
        for command in ("eval", "train", "train"):
            says(refusal(command, copy), str(copy / "checkpoints"), "sound")


FOLDER = [s for s in OVERRIDES if not s.startswith(("data.", "eval.count"))]


class TestFolderOfPictures:
    """`data=folder data.path=DIR` on a preset made for something else."""

    def words(self, pictures: Path, *settings: str) -> list[str]:
        own = ["data=folder", f"data.path={pictures}", "data.image_size=[20,20]", "train.steps=2"]
        return ["train", PRESET, *FOLDER, "eval.count=null", *own, *settings]

    @pytest.mark.parametrize("masks", [True, False], ids=["masks", "no masks"])
    def test_trains_evaluates_and_shows(self, masks: bool, cli: Cli, tmp_path: Path) -> None:
        pictures = write_pictures(tmp_path / "pictures", 12, size=20, masks=masks, objects=2)
        run = tmp_path / "run"
        status, _, err = cli(*self.words(pictures, "data.held_out_fraction=0.25", f"run={run}"))
        assert status == 0, err
        status, out, _ = cli("eval", run, "--json")
        assert status == 0
        found = json.loads(out)["metrics"]
        assert found["mse_mean"]["count"] == 3
        assert ("fg_ari" in found) == masks
        status, out, err = cli("show", run, "count=2")
        assert status == 0, err
        assert all(Path(line).is_file() for line in out.splitlines())
        moved = pictures.rename(tmp_path / "moved")
        status, _, err = cli("eval", run)
        assert status == 1
        says(err.splitlines()[-1], "data.path", str(pictures), "does not exist")
        assert cli("eval", run, f"data.path={moved}")[0] == 0

    @pytest.mark.parametrize(
        ("name", "damage", "parts"),
        [
            ("images/003.png", lambda p: p.write_bytes(b""), ["is empty"]),
            ("images/003.png", lambda p: p.write_bytes(p.read_bytes()[:60]), ["decoded"]),
            ("images/003.png", lambda p: p.write_text("x"), ["not a picture"]),
            ("masks/003.png", lambda p: p.write_bytes(b""), ["is empty"]),
            ("masks/003.png", lambda p: p.unlink(), ["has no mask"]),
        ],
        ids=["empty", "truncated", "text", "empty mask", "no mask"],
    )
    def test_bad_files_are_named(
        self,
        name: str,
        damage: Callable[[Path], Any],
        parts: list[str],
        refusal: Callable[..., str],
        tmp_path: Path,
    ) -> None:
        pictures = write_pictures(tmp_path / "pictures", 6, size=20)
        damage(pictures / name)
        message = refusal(*self.words(pictures, f"run={tmp_path / 'run'}"))
        says(message, "003.png", "data.bad_files=skip", *parts)

    def test_missing_paths(self, refusal: Callable[..., str], tmp_path: Path) -> None:
        words = self.words(tmp_path / "nowhere", f"run={tmp_path / 'run'}")
        says(refusal(*words), "data.path", "nowhere", "does not exist")
        words = self.words(tmp_path, f"run={tmp_path / 'run'}")
        says(refusal(*words), "data.path", "holds no pictures")
        words = ["train", PRESET, *FOLDER, "data=folder", f"run={tmp_path / 'run'}"]
        says(refusal(*words), "data.path is empty")
        assert not (tmp_path / "run").exists()

    def test_more_examples_than_there_are(
        self, refusal: Callable[..., str], tmp_path: Path
    ) -> None:
        pictures = write_pictures(tmp_path / "pictures", 6, size=20)
        words = self.words(pictures, "eval.count=7", f"run={tmp_path / 'run'}")
        says(refusal(*words), "eval.count=7", "1 examples")


def test_the_program_exits_with_the_status() -> None:
    """Also that a mistake is answered without loading more than it takes to see it."""
    found = subprocess.run(
        [sys.executable, "-m", "slots", "trian"], capture_output=True, text=True, timeout=400
    )
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("slots: 'trian' is no command; did you mean 'train'?")


def test_a_reader_that_has_enough_is_no_mistake() -> None:
    command = f"{sys.executable} -m slots list | head -n 1"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=400)
    assert found.stdout.startswith("presets")
    assert found.stderr == ""
