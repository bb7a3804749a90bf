"""Sweeps: what is swept, what is left to do, and the table of what was found."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import OVERRIDES, PRESET

from slots import run_folder, runs, sweep
from slots.cli import main
from slots.config import ConfigError
from slots.files import taken
from slots.sweep import Sweep

Capture = pytest.CaptureFixture[str]


def refuse(*_: Any) -> None:
    raise AssertionError("nothing is left to train")


def made(folder: Path, points: tuple[tuple[str, ...], ...], by: str = "fg_ari") -> Sweep:
    return Sweep(folder, PRESET, (), points, by)


def record(one: Sweep, number: int, seeds: Sequence[int] = (0,), **scores: Any) -> None:
    """What a finished point leaves."""
    origin = {"preset": one.preset, "settings": [*one.settings, *one.points[number]]}
    values = {
        name: {"mean": value, "stderr": 0.1, "count": 16} if not isinstance(value, dict) else value
        for name, value in scores.items()
    }
    path = one.conditions()[number].record
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**origin, "seeds": seeds, "protocol": "house/image", **values}))


class TestGrid:
    def test_keys_given_several_times_are_combined(self) -> None:
        words = ["a=1", "b=x", "c=[1,2]", "b=y", "a=2", "a=3"]
        once, points = sweep.grid(words)
        assert once == ("c=[1,2]",)
        assert points == [(f"a={a}", f"b={b}") for a in (1, 2, 3) for b in "xy"]

    def test_nothing_several_times_is_one_point(self) -> None:
        assert sweep.grid(["a=1", "b=2"]) == (("a=1", "b=2"), [()])

    def test_the_same_twice_counts_once(self) -> None:
        assert sweep.grid(["a=1", "a=1"]) == (("a=1",), [()])


class TestListed:
    def test_a_line_is_a_point(self, tmp_path: Path) -> None:
        path = tmp_path / "list"
        path.write_text("# first\na=1 'b=[1, 2]'\n\na=2  # and so on\n")
        assert sweep.listed(path) == [("a=1", "b=[1, 2]"), ("a=2",)]

    @pytest.mark.parametrize("text", ["", "# nothing\n", "a='1\n"])
    def test_what_is_no_list(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "list").write_text(text)
        with pytest.raises(ConfigError, match=r"lists no settings|can't be read as a list"):
            sweep.listed(tmp_path / "list")


class TestTable:
    def test_seeds_share_a_row(self, tmp_path: Path) -> None:
        points = tuple((f"model.num_slots={n}", f"train.seed={s}") for n in (3, 4) for s in (0, 1))
        one = made(tmp_path, points)
        for number, score in enumerate((0.5, 0.7, 0.8, 0.9)):
            record(one, number, fg_ari=score)
        text = sweep.gather(one)
        assert text == (tmp_path / "table.md").read_text().rstrip("\n")
        assert "4 of 4 points done, best by fg_ari." in text
        # By hand: (0.5 + 0.7) / 2 ± 0.2 / √2, (0.8 + 0.9) / 2 ± 0.1 / √2.
        assert "| 3 | 0.6000 ± 0.1414 |" in text
        (best,) = [line for line in text.splitlines() if "**best**" in line]
        assert best.startswith("| 4 | 0.8500 ± 0.0707 |")
        assert text.endswith(f"`slots train {PRESET} model.num_slots=4`")

    def test_seeds_that_were_measured_alike_are_named_together(self, tmp_path: Path) -> None:
        one = made(tmp_path, tuple((f"train.seed={seed}",) for seed in range(3)))
        for number, count in enumerate((16, 32, 16)):
            record(one, number, [number], fg_ari={"mean": 0.5, "count": count})
        by = "protocol house/image, n = "
        assert f"| {by}16, seeds 0, 2; {by}32, seeds 1 **best** |" in sweep.gather(one)

    def test_members_are_seeds(self, tmp_path: Path) -> None:
        one = made(tmp_path, ((),))
        record(one, 0, fg_ari={"mean": 0.5, "count": 16, "members": [0.25, 0.75]})
        assert "| 0.5000 ± 0.3536 |" in sweep.gather(one)

    def test_the_lower_the_better(self, tmp_path: Path) -> None:
        one = made(tmp_path, (("a=1",), ("a=2",)), by="-mse_mean")
        record(one, 0, mse_mean=0.2)
        record(one, 1, mse_mean=0.1)
        assert sweep.gather(one).endswith(" a=2`")

    def test_what_is_missing_or_undefined_is_not_the_best(self, tmp_path: Path) -> None:
        one = made(tmp_path, (("a=1",), ("a=2",), ("a=3",)))
        record(one, 0, fg_ari={"mean": None, "count": 0})
        record(one, 2, fg_ari=-0.5)
        text = sweep.gather(one)
        assert "2 of 3 points done" in text
        assert text.endswith(" a=3`")

    def test_nothing_done(self, tmp_path: Path) -> None:
        assert "best one" not in sweep.gather(made(tmp_path, (("a=1",),)))


class TestFolder:
    def test_comes_back(self, tmp_path: Path) -> None:
        one = made(tmp_path, (("a=1", "b=2"), ()))
        one.save()
        one.save()
        assert sweep.read(tmp_path) == one
        with pytest.raises(ConfigError, match="holds another sweep"):
            made(tmp_path, ((),)).save()

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"points": 3}', '{"points": [[1]]}'])
    def test_damage(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(ConfigError, match=r"sweep\.json is damaged"):
            sweep.read(tmp_path)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"preset": 1}'])
    def test_damaged_records(self, text: str, tmp_path: Path) -> None:
        one = made(tmp_path, (("a=1",),))
        record(one, 0)
        assert "1 of 1 points done" in sweep.gather(one)
        (tmp_path / "records" / "0000.json").write_text(text)
        with pytest.raises(ConfigError, match=r"0000\.json is damaged: remove it"):
            sweep.gather(one)

    def test_array_script(self, tmp_path: Path) -> None:
        one = made(tmp_path / "a folder", (("a=1",), ("a=2",), ("a=3",)))
        one.folder.mkdir()
        text = sweep.array_script(one, "slots").read_text()
        assert "#SBATCH --array=0-2\n" in text
        assert f"slots sweep '{tmp_path}/a folder' task=\"$SLURM_ARRAY_TASK_ID\"\n" in text


class TestCommand:
    def test_trains_gathers_and_goes_on(
        self, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = str(tmp_path / "out")
        grid = ["train.seed=0", "train.seed=1", f"out={out}"]
        small = [word for word in OVERRIDES if not word.startswith("train.steps")]
        assert main(["sweep", PRESET, *small, "train.steps=2", *grid]) == 0
        text = capsys.readouterr().out
        assert "2 of 2 points done, best by fg_ari." in text
        assert (tmp_path / "out" / "table.md").read_text() == text
        monkeypatch.setattr(runs, "train", refuse)
        assert main(["sweep", out]) == 0
        assert main(["sweep", out, "task=1"]) == 0
        assert capsys.readouterr().out == text * 2

    def test_leaves_alone_what_another_process_is_at(
        self, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trained: list[int] = []

        def train(config: Any, folder: Path) -> None:
            with run_folder.alone(folder):
                trained.append(config.train.seed)

        monkeypatch.setattr(runs, "train", train)
        monkeypatch.setattr(sweep.Condition, "_measured", lambda self: {"fg_ari": {"mean": 0.5}})
        words = ["sweep", PRESET, "train.seed=0", "train.seed=1", f"out={tmp_path / 'out'}"]
        with taken(tmp_path / "out" / "runs" / "0000" / ".lock") as mine:
            assert mine
            assert main(words) == 0
            assert trained == [1]
            told = capsys.readouterr()
            assert "Point 0: train.seed=0, at which another process is\n" in told.err
            assert "1 of 2 points done" in told.out
        assert main(words) == 0
        assert trained == [1, 0]

    def test_one_that_fails_leaves_the_others(
        self, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def train(config: Any, folder: Path) -> None:
            raise ConfigError(f"no {config.train.seed}.")

        monkeypatch.setattr(runs, "train", train)
        words = ["sweep", PRESET, "train.seed=0", "train.seed=1", f"out={tmp_path / 'out'}"]
        assert main(words) == 1
        found = capsys.readouterr()
        assert found.err.endswith("Point 0 failed: no 0.\nPoint 1 failed: no 1.\n")
        assert "0 of 2 points done" in found.out

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ([PRESET, "train.seed=1"], "out=DIR is missing"),
            ([PRESET, "train.sed=1", "out=o"], "no setting 'sed'; did you mean 'seed'"),
            ([PRESET, "list=nowhere", "out=o"], "nowhere can't be read as a list of settings"),
            ([PRESET, "task=x", "out=o"], "task='x' should be a number."),
            (["nothing", "out=o"], "nothing"),
            (["done", "train.seed=1"], "a sweep that goes on keeps its settings"),
            (["done", "task=1"], "task=1 should be from 0 to 0."),
        ],
        ids=" ".join,
    )
    def test_mistakes(
        self,
        words: list[str],
        text: str,
        tmp_path: Path,
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        made(Path("done"), ((),)).save()
        assert main(["sweep", *words]) == 1
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1
        assert not Path("o").exists()

    def test_slurm(self, tmp_path: Path, capsys: Capture) -> None:
        words = ["train.seed=0", "train.seed=1", f"out={tmp_path / 'out'}", "--slurm"]
        assert main(["sweep", PRESET, *words]) == 0
        assert capsys.readouterr().out == f"sbatch {tmp_path}/out/array.sh\n"
