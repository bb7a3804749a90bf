"""Experiments as a whole: train, go on, restore, predict, evaluate."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import DotsConfig, distance, dots, same_bits

import slots
from slots import run_folder
from slots.config import ConfigError, override
from slots.data import DataConfig
from slots.experiment import ExperimentConfig, parameter_table
from slots.figures import write_figures
from slots.files import taken
from slots.models import count_parameters
from slots.objectives import ReconstructionConfig
from slots.run_folder import default_folder, read_config
from slots.runs import Run
from slots.training import Checkpoints, RunError, read_records


@pytest.fixture(autouse=True, scope="module")
def _dots() -> Iterator[None]:
    """Registers the dots, so that their runs can be saved and read."""
    DataConfig.kinds["dots"] = DotsConfig
    yield
    del DataConfig.kinds["dots"]


SETTINGS = ("eval.every=4", "checkpoint.best_metric=psnr", "checkpoint.keep_latest=3")
DATA: dict[str, Any] = {"label_size": 10}


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    return dots(*SETTINGS, **DATA)


@pytest.fixture(scope="module")
def finished(config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return slots.train(config, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def grounded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose first slots come from a dictionary."""
    settings = ("model.initializer=dictionary", "model.initializer.size=5", "train.steps=1")
    return slots.train(dots(*SETTINGS, *settings, **DATA), tmp_path_factory.mktemp("r") / "run")


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Path:
    """A copy of the finished run's folder that a test may change."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


class TestFolder:
    def test_holds_the_settings(self, finished: Run, config: ExperimentConfig) -> None:
        assert read_config(finished.folder) == config
        data = json.loads((finished.folder / "config.json").read_text())
        assert data["model"]["module"]["kind"] == "slot_attention"
        assert data["data"]["kind"] == "dots"

    def test_holds_versions_and_the_parameter_table(self, finished: Run) -> None:
        versions = json.loads((finished.folder / "versions.json").read_text())
        assert versions["jax"] == jax.__version__
        assert {"slots", "flax", "optax", "python", "devices"} <= set(versions)
        table = (finished.folder / "parameters.txt").read_text()
        assert f"total {count_parameters(finished.state.params):,}" in table
        assert table == parameter_table(finished.experiment) + "\n"

    def test_holds_per_example_values(self, finished: Run) -> None:
        files = sorted(p.name for p in (finished.folder / "evaluations").iterdir())
        assert files == ["val-4.npz", "val-6.npz"]
        (record,) = (
            r
            for r in read_records(finished.folder / "metrics.jsonl")
            if r["kind"] == "val" and r["step"] == 6
        )
        with np.load(finished.folder / "evaluations/val-6.npz") as saved:
            np.testing.assert_array_equal(saved["index"], np.arange(16))
            for name in ("fg_ari", "mbo_attention", "mse_mean"):
                assert record[name]["mean"] == pytest.approx(np.nanmean(saved[name]))
                assert record[name]["count"] == np.isfinite(saved[name]).sum()

    def test_settings_that_do_not_fit_leave_no_folder(self, tmp_path: Path) -> None:
        for wrong in (
            "train.batch_size=9",
            "eval.count=17",
            "eval.split=tset",
            "optimizer.rules=[{pattern: nothing}]",
        ):
            with pytest.raises(ConfigError):
                slots.train(dots("mesh.data=2", wrong), tmp_path / "run")
            assert not (tmp_path / "run").exists()

    def test_default_name(self) -> None:
        folder = default_folder("slot_attention/tetrominoes")
        assert folder.parent == Path("runs")
        assert folder.name.startswith("slot_attention-tetrominoes-2")


class TestGoingOn:
    def test_raised_steps_end_with_the_same_bits(
        self, config: ExperimentConfig, finished: Run, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        slots.train(override(config, ["train.steps=3"]), run)
        again = slots.train(config, run)
        assert again.step == 6
        assert same_bits(again.state, finished.state)
        assert read_config(run).train.steps == 6
        steps = [r["step"] for r in read_records(run / "metrics.jsonl") if r["kind"] == "train"]
        assert steps == [1, 2, 3, 4, 5, 6]

    def test_another_experiment_is_refused(self, copy: Path, config: ExperimentConfig) -> None:
        for wrong, parts in {
            "model.num_slots=5": ["model.num_slots", "3", "5"],
            "train.seed=1": ["train.seed", "0", "1"],
            "model.initializer=learned": ["model.initializer", "'gaussian'", "'learned'"],
            "train.steps=5": ["train.steps", "6", "5"],
        }.items():
            with pytest.raises(ConfigError, match="holds another experiment") as caught:
                slots.train(override(config, [wrong]), copy)
            for part in (str(copy), "only train.steps may be raised", *parts):
                assert part in str(caught.value)
        assert Checkpoints(copy / "checkpoints").steps()[0] == 6

    def test_where_another_process_trains(self, copy: Path, config: ExperimentConfig) -> None:
        lock, more = copy / ".lock", override(config, ["train.steps=7"])
        held = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        with taken(lock) as mine:
            assert mine
            with pytest.raises(RunError, match=f"Another process trains in {copy}; wait"):
                slots.train(more, copy)
        assert held == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        assert slots.train(more, copy).step == 7
        with taken(lock) as mine:
            assert mine

    def test_where_another_process_has_just_begun(
        self, config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        @contextlib.contextmanager
        def late(path: Path) -> Iterator[bool]:
            slots.train(override(config, ["train.steps=1", "train.seed=1"]), tmp_path / "other")
            shutil.copytree(tmp_path / "other", path.parent)
            with taken(path) as mine:
                yield mine

        run = tmp_path / "run"
        monkeypatch.setattr(
            run_folder, "taken", lambda path: (late if path.parent == run else taken)(path)
        )
        with pytest.raises(ConfigError, match="holds another experiment"):
            slots.train(config, run)
        assert read_config(run).train.seed == 1

    def test_folders_that_are_no_runs(self, config: ExperimentConfig, tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "notes.txt").write_text("mine")
        with pytest.raises(ConfigError, match="not empty and not a run"):
            slots.train(config, tmp_path / "full")
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ConfigError, match="is a file"):
            slots.train(config, tmp_path / "file")


class TestRestore:
    def test_gives_the_state_back(self, finished: Run) -> None:
        run = slots.restore(finished.folder)
        assert run.step == 6
        assert same_bits(run.state, finished.state)
        assert run.experiment.config == finished.experiment.config

    def test_an_older_step(self, finished: Run) -> None:
        run = slots.restore(finished.folder, step=2)
        assert run.step == 2
        assert distance(run.params, finished.params) > 0

    def test_the_best_step(self, finished: Run) -> None:
        means = {
            r["step"]: r["psnr"]["mean"]
            for r in read_records(finished.folder / "metrics.jsonl")
            if r["kind"] == "val"
        }
        assert slots.restore(finished.folder, step="best").step == max(means, key=means.__getitem__)

    def test_no_step_was_measured(self, copy: Path) -> None:
        for step in (4, 6):
            shutil.rmtree(copy / "checkpoints" / str(step))
        with pytest.raises(RunError, match="no checkpoint with a measured metric"):
            slots.restore(copy, step="best")

    def test_overrides_that_leave_the_parameters_alone(self, finished: Run) -> None:
        overrides = ("model.num_slots=5", "model.module.eval_iterations=3", "eval.count=4")
        run = slots.restore(finished.folder, overrides=overrides)
        prediction = run.predict(np.zeros((2, 10, 10, 3), np.uint8))
        assert prediction.grouping.attention.shape[:2] == (2, 5)
        assert prediction.grouping.diagnostics["attention_per_iteration"].shape[1] == 3
        assert slots.evaluate(run).statistics["mse_mean"].count == 4

    def test_overrides_that_change_the_parameters(self, finished: Run) -> None:
        with pytest.raises(RunError, match=r"another configuration: params\.\w+.* should be"):
            slots.restore(finished.folder, overrides=["model.slot_dim=8"])

    @pytest.mark.parametrize("override", ["train.accumulate=16", "mesh.data=16", "mesh.fsdp=16"])
    def test_does_not_need_the_machine_it_was_trained_on(
        self, override: str, copy: Path, finished: Run
    ) -> None:
        data = json.loads((copy / "config.json").read_text())
        group, name = override.partition("=")[0].split(".")
        data[group][name] = 16
        data["train"]["batch_size"] = 16
        (copy / "config.json").write_text(json.dumps(data))
        assert same_bits(slots.restore(copy).params, finished.params)

    def test_an_average_is_what_is_evaluated(self, tmp_path: Path) -> None:
        run = slots.train(dots("optimizer.ema_decay=0.5", "train.steps=2"), tmp_path / "run")
        assert run.params is run.state.ema
        assert same_bits(slots.restore(run.folder).params, run.state.ema)
        assert distance(run.params, run.state.params) > 0


class TestPredict:
    def test_bytes_and_floats_agree(self, finished: Run) -> None:
        images = np.random.default_rng(0).integers(0, 256, (3, 10, 10, 3), dtype=np.uint8)
        one = finished.predict(images)
        other = finished.predict(images / np.float32(255))
        double = finished.predict(images / 255.0)
        assert distance(one.reconstruction.masks, other.reconstruction.masks) < 1e-6
        assert distance(one.reconstruction.masks, double.reconstruction.masks) < 1e-6
        drawn = finished.model.to_image(one.reconstruction.output)
        assert drawn.shape == (3, 10, 10, 3)
        np.testing.assert_allclose(one.reconstruction.masks.sum(axis=1), 1, atol=1e-5)

    def test_the_seed_draws_the_first_slots(self, finished: Run) -> None:
        images = np.zeros((2, 10, 10, 3), np.uint8)
        zero, again, one = (finished.predict(images, seed=seed) for seed in (0, 0, 1))
        assert same_bits(zero.grouping.slots.vectors, again.grouping.slots.vectors)
        assert distance(zero.grouping.slots.vectors, one.grouping.slots.vectors) > 0

    @pytest.mark.parametrize("shape", [(10, 10, 3), (1, 10, 9, 3), (1, 10, 10, 1), (1, 3, 10, 10)])
    def test_pictures_of_another_shape_are_refused(
        self, shape: tuple[int, ...], finished: Run
    ) -> None:
        with pytest.raises(ConfigError, match=r"expects pictures \[B, 10, 10, 3\], got") as caught:
            finished.predict(np.zeros(shape, np.uint8))
        assert str(shape) in str(caught.value)


class TestCompose:
    def test_scenes_of_what_pictures_show(self, grounded: Run) -> None:
        images = np.random.default_rng(0).random((2, 10, 10, 3)).astype(np.float32)
        seen = grounded.predict(images)
        drawn, again = (grounded.compose(seen, count=3, seed=1) for _ in range(2))
        assert drawn.output.shape == (3, 10, 10, 3)
        np.testing.assert_allclose(drawn.masks.sum(axis=1), np.ones((3, 10, 10)), atol=1e-5)
        assert same_bits(drawn, again)
        assert distance(drawn.output, grounded.compose(seen, count=3, seed=2).output) > 0

    def test_is_drawn(self, grounded: Run) -> None:
        assert "composed.png" in {path.name for path in write_figures(grounded, count=2)}

    def test_needs_a_dictionary(self, finished: Run) -> None:
        with pytest.raises(ConfigError, match="initializer=dictionary"):
            finished.compose(finished.predict(np.zeros((1, 10, 10, 3), np.uint8)))


def test_evaluation_after_training_finds_the_same(finished: Run) -> None:
    (record,) = (
        r
        for r in read_records(finished.folder / "metrics.jsonl")
        if r["kind"] == "val" and r["step"] == 6
    )
    found = slots.evaluate(slots.restore(finished.folder))
    for name, statistic in found.statistics.items():
        assert record[name]["count"] == statistic.count
        assert record[name]["mean"] == pytest.approx(statistic.mean, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("count", [0, 2])
def test_each_objective_comes_once(count: int) -> None:
    with pytest.raises(ConfigError, match="at least one term, each once"):
        dataclasses.replace(dots(), objectives=(ReconstructionConfig(),) * count)
