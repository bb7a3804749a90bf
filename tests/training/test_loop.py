"""The loop: exact resume, what it writes, and how it ends when something goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from tiny import (
    Experiment,
    data_files,
    distance,
    experiment,
    same_bits,
    train_steps,
)

from slots.config import ConfigError
from slots.training import (
    CheckpointConfig,
    Checkpoints,
    Interrupted,
    LogConfig,
    RunError,
    TrainConfig,
    fit,
    read_records,
)
from slots.types import TrainState

STEPS = 6
EVERY = 2


def nothing(state: TrainState, step: int) -> dict[str, dict[str, Any]]:
    """An evaluation without metrics."""
    return {}


def run(
    folder: Path,
    built: Experiment | None = None,
    *,
    evaluate: Callable[[TrainState, int], dict[str, dict[str, Any]]] = nothing,
    evaluate_every: int = 100,
    **checkpoint: Any,
) -> TrainState:
    """Trains in `folder` with a checkpoint every two steps and a record of every step."""
    folder.mkdir(exist_ok=True)
    return fit(
        (built or experiment()).trainer,
        folder,
        checkpoint=CheckpointConfig(every=EVERY, **{"keep_latest": 3, **checkpoint}),
        logging_config=LogConfig(every=1, tensorboard=False),
        evaluate=evaluate,
        evaluate_every=evaluate_every,
    )


def records(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    return [r for r in read_records(folder / "metrics.jsonl") if r["kind"] == kind]


def logged_steps(folder: Path) -> list[int]:
    return [r["step"] for r in records(folder)]


def saved_steps(folder: Path) -> list[int]:
    return Checkpoints(folder / "checkpoints").steps()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainState]:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


@pytest.fixture
def copy(whole: tuple[Path, TrainState], tmp_path: Path) -> Path:
    """A copy of the uninterrupted run that a test may damage."""
    return Path(shutil.copytree(whole[0], tmp_path / "run"))


class TestUninterrupted:
    def test_is_the_steps_one_after_the_other(self, whole: tuple[Path, TrainState]) -> None:
        folder, state = whole
        expected, losses = train_steps(experiment(), STEPS)
        assert same_bits(state, expected)
        assert [r["loss"] for r in records(folder)] == pytest.approx(losses)
        assert saved_steps(folder) == [6, 4, 2]

    def test_writes_a_record_of_every_step(self, whole: tuple[Path, TrainState]) -> None:
        folder, _ = whole
        assert logged_steps(folder) == [1, 2, 3, 4, 5, 6]
        names = {
            "loss",
            "reconstruction",
            "component_error",
            "grad_norm",
            "slot_init_gradient",
            "learning_rate",
            "skipped",
        }
        for record in records(folder):
            assert set(record) == {
                "step",
                "kind",
                "steps_per_second",
                "images_per_second",
                *names,
            }

    def test_a_finished_run_is_left_alone(self, copy: Path, whole: tuple[Path, TrainState]) -> None:
        before = (copy / "metrics.jsonl").read_bytes()
        assert same_bits(run(copy), whole[1])
        assert (copy / "metrics.jsonl").read_bytes() == before

    def test_reports_progress(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(tmp_path / "run")
        out, err = capsys.readouterr()
        assert out == ""
        last = [line for line in err.splitlines() if "|" in line][-1]
        assert last.startswith("step 6/6 | loss 0.")
        for unit in ("steps/s", "images/s", "0:00 left"):
            assert unit in last


class TestResume:
    @pytest.mark.parametrize("stop", [2, 3])
    def test_ends_with_the_same_bits(
        self, stop: int, tmp_path: Path, whole: tuple[Path, TrainState]
    ) -> None:
        folder = tmp_path / "run"
        first = run(folder, experiment(f"train.steps={stop}"))
        assert int(first.step) == stop
        assert same_bits(run(folder), whole[1])
        assert logged_steps(folder) == [1, 2, 3, 4, 5, 6]

    def test_lines_past_the_restored_step_are_dropped(
        self, copy: Path, whole: tuple[Path, TrainState]
    ) -> None:
        shutil.rmtree(copy / "checkpoints" / "6")
        assert logged_steps(copy) == [1, 2, 3, 4, 5, 6]
        assert same_bits(run(copy), whole[1])
        assert logged_steps(copy) == [1, 2, 3, 4, 5, 6]

    def test_a_last_line_cut_short_is_dropped(
        self, copy: Path, whole: tuple[Path, TrainState]
    ) -> None:
        shutil.rmtree(copy / "checkpoints" / "6")
        path = copy / "metrics.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        assert records(copy, "val") == []
        run(copy)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [r["step"] for r in lines if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
        assert [r["step"] for r in lines if r["kind"] == "val"] == [6]

    def test_a_damaged_newest_checkpoint_costs_two_steps(
        self, copy: Path, whole: tuple[Path, TrainState], caplog: pytest.LogCaptureFixture
    ) -> None:
        for file in data_files(copy / "checkpoints/6"):
            file.write_bytes(file.read_bytes()[:100])
        with caplog.at_level("INFO", "slots"):
            state = run(copy)
        assert "Checkpoint 6 is damaged and passed over" in caplog.text
        assert "Going on from step 4" in caplog.text
        assert same_bits(state, whole[1])
        assert logged_steps(copy) == [1, 2, 3, 4, 5, 6]
        assert (copy / "damaged" / "6").is_dir()
        assert saved_steps(copy)[0] == 6

    def test_more_steps_may_follow(self, copy: Path) -> None:
        state = run(copy, experiment("train.steps=8"))
        assert same_bits(state, train_steps(experiment("train.steps=8"), 8)[0])
        assert logged_steps(copy)[-3:] == [6, 7, 8]


class TestEvaluation:
    def test_happens_in_its_rhythm_and_at_the_end(self, tmp_path: Path) -> None:
        seen = []

        def evaluate(state: TrainState, step: int) -> dict[str, dict[str, Any]]:
            assert int(state.step) == step
            seen.append(step)
            value = {1: 0.1, 4: 0.9, 6: float("nan")}.get(step, 0.2)
            return {"fg_ari": {"mean": value, "stderr": 0.0, "count": 3}}

        folder = tmp_path / "run"
        run(folder, evaluate=evaluate, evaluate_every=4, keep_latest=1)
        assert seen == [4, 6]
        assert saved_steps(folder) == [6, 4]  # the newest and the best; NaN is never the best
        assert Checkpoints(folder / "checkpoints").best() == 4
        assert [(r["step"], r["fg_ari"]["mean"]) for r in records(folder, "val")] == [
            (4, 0.9),
            (6, None),
        ]

    def test_another_metric_may_decide(self, tmp_path: Path) -> None:
        def evaluate(state: TrainState, step: int) -> dict[str, dict[str, Any]]:
            return {"psnr": {"mean": -float(step), "stderr": 0.0, "count": 3}}

        folder = tmp_path / "run"
        run(folder, evaluate=evaluate, evaluate_every=2, keep_latest=1, best_metric="psnr")
        assert Checkpoints(folder / "checkpoints").best() == 2


class TestNotFinite:
    def test_bad_steps_are_counted_and_reported(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "run"
        built = experiment(bad_steps=(1, 3))
        state = run(folder, built)
        assert int(state.skipped) == 2
        assert "2 steps so far were not finite" in capsys.readouterr().err
        found = records(folder)
        assert [r["skipped"] for r in found] == [0, 1, 1, 2, 2, 2]
        assert [r["loss"] is None for r in found] == [False, True, False, True, False, False]

    def test_too_many_end_the_run_with_the_last_good_state(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        built = experiment("train.max_skipped=1", bad_steps=(3, 4, 5))
        with pytest.raises(RunError, match=r"2 steps had a loss .*max_skipped=1.* saved at step 5"):
            run(folder, built)
        target = built.trainer.abstract_state()
        state, step = Checkpoints(folder / "checkpoints").restore(target)
        assert step == 5
        good, _ = train_steps(experiment(), 3)
        assert same_bits(state.params, good.params)
        assert same_bits(state.opt_state, good.opt_state)
        with pytest.raises(RunError, match="3 steps had a loss"):
            run(folder, built)


class TestSignals:
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
    )
    def test_saves_where_it_stopped_and_goes_on_from_there(
        self, number: int, code: int, tmp_path: Path, whole: tuple[Path, TrainState]
    ) -> None:
        folder = tmp_path / "run"
        handler = signal.getsignal(number)

        def stop(state: TrainState, step: int) -> dict[str, dict[str, Any]]:
            if step == 3:
                os.kill(os.getpid(), number)
            return {}

        with pytest.raises(Interrupted, match=rf"at step 3, .*slots train {folder}") as caught:
            run(folder, evaluate=stop, evaluate_every=3)
        assert caught.value.code == code
        assert signal.getsignal(number) is handler
        assert saved_steps(folder) == [3, 2]
        assert same_bits(run(folder), whole[1])
        assert logged_steps(folder) == [1, 2, 3, 4, 5, 6]

    def test_at_the_last_step_the_run_just_ends(
        self, tmp_path: Path, whole: tuple[Path, TrainState]
    ) -> None:
        def stop(state: TrainState, step: int) -> dict[str, dict[str, Any]]:
            os.kill(os.getpid(), signal.SIGTERM)
            return {}

        assert same_bits(run(tmp_path / "run", evaluate=stop), whole[1])


def test_compiled_programs_are_kept(tmp_path: Path) -> None:
    code = (
        "import jax, jax.numpy as jnp, slots.training as t; t.use_compilation_cache();"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0);"
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))"
    )
    environment = os.environ | {"SLOTS_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=400)
    assert any((tmp_path / "cache" / "xla").iterdir())


def test_a_kept_program_that_was_cut_short_is_replaced(tmp_path: Path) -> None:
    code = (
        "import logging, jax, jax.numpy as jnp, slots.training as t; t.use_compilation_cache();"
        "logging.getLogger('slots').setLevel('INFO'); logging.basicConfig(format='%(message)s');"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0);"
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))"
    )
    environment = os.environ | {"SLOTS_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    words, told = [sys.executable, "-c", code], []
    for _ in range(3):
        ended = subprocess.run(words, env=environment, check=True, timeout=400, capture_output=True)
        told.append(ended.stderr.decode())
        if len(told) == 1:  # as a kill leaves it
            (kept,) = (tmp_path / "xla").glob("jit__lambda-*-cache")
            kept.write_bytes(kept.read_bytes()[:100])
    again = "The kept program jit__lambda was cut short and is compiled anew.\n"
    assert told == ["", again, ""]


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"batch_size": 0}, {"accumulate": 0}, {"seed": -1}, {"seed": 2**32}],
    ids=str,
)
def test_senseless_settings_are_refused(settings: dict[str, int]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"train\.{name}={settings[name]}"):
        TrainConfig(**settings)


def test_distance_sees_a_difference() -> None:
    """The helper that other comparisons rest on."""
    assert distance({"a": jax.numpy.ones(2)}, {"a": jax.numpy.array([1.0, 3.0])}) == 2
    assert not same_bits({"a": jax.numpy.zeros(1)}, {"a": -jax.numpy.zeros(1)})
