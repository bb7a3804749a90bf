"""Runs of several seeds as a whole: what they write, and what the commands make of them."""

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import DotsConfig, distance, dots, same_bits

import slots
from slots.cli import main
from slots.config import ConfigError, override
from slots.data import DataConfig
from slots.experiment import ExperimentConfig, parameter_table
from slots.models import count_parameters
from slots.run_folder import read_config
from slots.runs import Run
from slots.training import read_records

COUNT = 3
KEYS = ["mean", "stderr", "count", "seeds_mean", "seeds_std"]


@pytest.fixture(autouse=True, scope="module")
def _dots() -> Iterator[None]:
    """Registers the dots, so that their runs can be saved and read."""
    DataConfig.kinds["dots"] = DotsConfig
    level = logging.getLogger("slots").level
    yield
    logging.getLogger("slots").setLevel(level)
    del DataConfig.kinds["dots"]


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    settings = ("train.seeds=3", "train.seed=4", "eval.every=4", "checkpoint.best_metric=mbo")
    return dots(*settings, label_size=10, seed=7)


@pytest.fixture(scope="module")
def trained(config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """The run, and what was said while it trained."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        run = slots.train(config, tmp_path_factory.mktemp("runs") / "run")
    return run, said.getvalue()


@pytest.fixture(scope="module")
def run(trained: tuple[Run, str]) -> Run:
    return trained[0]


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    """A copy of the run's folder that a test may change."""
    return Path(shutil.copytree(run.folder, tmp_path / "run"))


def cli(*words: Any) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    return status, out.getvalue(), err.getvalue()


def spread(values: Any) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1))


class TestFolder:
    def test_records_hold_each_member_beside_mean_and_std(self, run: Run) -> None:
        records = read_records(run.folder / "metrics.jsonl")
        for record in (r for r in records if r["kind"] == "train"):
            for name in ("loss", "reconstruction", "grad_norm", "skipped"):
                found = record[name]
                assert len(found["members"]) == COUNT
                assert (found["mean"], found["std"]) == pytest.approx(spread(found["members"]))
            assert isinstance(record["steps_per_second"], float)
        for record in (r for r in records if r["kind"] == "val"):
            assert list(record["mbo"]) == [*KEYS, "members"]
            found = record["mbo"]
            assert (found["mean"], found["seeds_std"]) == pytest.approx(spread(found["members"]))

    def test_values_have_a_row_for_each_member(self, run: Run) -> None:
        (record,) = (
            r
            for r in read_records(run.folder / "metrics.jsonl")
            if r["kind"] == "val" and r["step"] == 6
        )
        with np.load(run.folder / "evaluations/val-6.npz") as saved:
            np.testing.assert_array_equal(saved["index"], np.arange(16))
            assert saved["mbo"].shape == (COUNT, 16)
            assert record["mbo"]["members"] == pytest.approx(np.nanmean(saved["mbo"], axis=1))

    def test_the_table_is_that_of_one(self, run: Run) -> None:
        table = (run.folder / "parameters.txt").read_text()
        assert f"total {count_parameters(run.member(0).params):,}" in table
        assert table == parameter_table(run.member(1).experiment) + "\n"

    def test_progress_shows_mean_and_std(self, trained: tuple[Run, str]) -> None:
        lines = trained[1].splitlines()
        assert any("| loss 0." in line and " ± 0." in line for line in lines)
        assert any("step 6 val" in line and "(3 seeds, n = 16)" in line for line in lines)

    def test_goes_on_with_the_same_bits(
        self, config: ExperimentConfig, run: Run, tmp_path: Path
    ) -> None:
        slots.train(override(config, ["train.steps=3"]), tmp_path / "run")
        again = slots.train(config, tmp_path / "run")
        assert again.step == 6
        assert same_bits(again.state, run.state)

    @pytest.mark.parametrize("wrong", ["train.seeds=2", "train.seeds=1", "train.seed=5"])
    def test_other_seeds_are_another_experiment(
        self, wrong: str, config: ExperimentConfig, copy: Path
    ) -> None:
        with pytest.raises(ConfigError, match=rf"another experiment: {wrong.split('=')[0]} is"):
            slots.train(override(config, [wrong]), copy)


class TestPython:
    def test_restore_gives_all_back(self, run: Run, config: ExperimentConfig) -> None:
        found = slots.restore(run.folder)
        assert same_bits(found.state, run.state)
        assert found.step == 6
        assert found.seeds == (4, 5, 6)
        assert slots.restore(run.folder, step="best").step in (4, 6)
        assert read_config(run.folder) == config

    def test_a_member_is_a_run_of_its_seed(self, run: Run) -> None:
        member = run.member(2)
        assert member.seeds == (6,)
        assert member.step == 6
        config = member.experiment.config
        assert (config.train.seed, config.train.seeds, config.data.seed) == (6, 1, 9)
        lone = next(config.data.make().train(8))
        assert same_bits(next(member.experiment.trainer.batches(0)), lone)
        images = np.zeros((2, 10, 10, 3), np.uint8)
        predictions = [run.member(i).predict(images).reconstruction for i in (0, 2)]
        assert distance(*predictions) > 0
        assert member.model.to_image(predictions[1].output).shape == images.shape
        assert member.member(0) is member

    def test_it_trains_as_its_experiment_does(self, run: Run, tmp_path: Path) -> None:
        lone = slots.train(run.member(1).experiment.config, tmp_path / "run")
        assert distance(lone.state, run.member(1).state) < 1e-5

    def test_the_whole_run_asks_for_one(self, run: Run) -> None:
        images = np.zeros((2, 10, 10, 3), np.uint8)
        for ask in (lambda: run.params, lambda: run.model, lambda: run.predict(images)):
            with pytest.raises(
                ConfigError, match=r"3 members, with seeds 4 to 6; .*run\.member\(0\)"
            ):
                ask()

    @pytest.mark.parametrize("number", [3, -1])
    def test_a_member_that_is_not_there(self, number: int, run: Run) -> None:
        with pytest.raises(ConfigError, match=rf"member={number}: .* has members 0 to 2"):
            run.member(number)
        with pytest.raises(ConfigError, match="has one member, 0"):
            run.member(0).member(1)

    def test_evaluation_scores_all(self, copy: Path) -> None:
        run = slots.restore(copy)
        found = slots.evaluate(run)
        for i in range(COUNT):
            one = slots.evaluate(run.member(i))
            np.testing.assert_array_equal(one.per_example["mbo"], found.per_example["mbo"][i])
            assert one.statistics["mbo"].mean == found.statistics["mbo"].members[i]
        names = {p.name for p in (copy / "evaluations").iterdir()}
        assert names == {"val-4.npz", "val-6.npz", *(f"val-6-member{i}.npz" for i in range(COUNT))}


class TestCommands:
    def test_eval_json(self, copy: Path) -> None:
        status, out, err = cli("eval", copy, "--json")
        assert status == 0, err
        found = json.loads(out)
        assert list(found) == ["run", "step", "seeds", "protocol", "items", "metrics", "verdicts"]
        assert len(found["verdicts"]) == COUNT
        assert found["seeds"] == [4, 5, 6]
        lone = [json.loads(cli("eval", copy, "--json", f"member={i}")[1]) for i in range(COUNT)]
        assert [one["seeds"] for one in lone] == [[4], [5], [6]]
        for name, values in found["metrics"].items():
            assert list(values) == KEYS
            means = [one["metrics"][name]["mean"] for one in lone]
            assert values["mean"] == values["seeds_mean"]
            assert (values["mean"], values["seeds_std"]) == pytest.approx(spread(means))
            assert {one["metrics"][name]["seeds_std"] for one in lone} == {None}

    def test_eval_as_a_table(self, copy: Path) -> None:
        head, *rows = cli("eval", copy)[1].splitlines()
        assert head == f"{copy} at step 6, protocol house/image, 16 examples, seeds 4 to 6"
        assert [row.split(":")[0] for row in rows[-3:]] == [
            f"  slots of seed {i}" for i in (4, 5, 6)
        ]
        assert all("±" in row and "(3 seeds, n = 16)" in row for row in rows[:-3])
        head, *rows = cli("eval", copy, "member=1")[1].splitlines()
        assert head.endswith("seed 5 (the protocol asks for 3)")
        assert all("(n = 16)" in row for row in rows[:-1])

    def test_show(self, copy: Path) -> None:
        pictures = {}
        for words in ((), ("member=0",), ("member=1",)):
            status, out, err = cli("show", copy, "count=2", *words)
            assert status == 0, err
            pictures[words] = {Path(p).name: Path(p).read_bytes() for p in out.splitlines()}
        assert pictures[()] == pictures["member=0",]
        other = pictures["member=1",]
        assert other["curves.png"] == pictures[()]["curves.png"]
        assert other["reconstructions.png"] != pictures[()]["reconstructions.png"]

    @pytest.mark.parametrize("command", ["eval", "show"])
    @pytest.mark.parametrize(
        ("word", "message"),
        [
            ("member=3", "member=3: the run {} has members 0 to 2."),
            ("member=-1", "member='-1' should be a number, counted from 0."),
            ("member=all", "member='all' should be a number, counted from 0."),
        ],
    )
    def test_a_wrong_member(self, command: str, word: str, message: str, run: Run) -> None:
        status, out, err = cli(command, run.folder, word)
        assert (status, out) == (1, "")
        assert err.splitlines()[-1] == f"slots: {message.format(run.folder)}"
