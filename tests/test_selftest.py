"""The checks of a machine: they hold here, and each fails where what it checks is broken."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import OVERRIDES, PRESET, Experiment, tiny

from slots.cli import main
from slots.data import Dataset
from slots.experiment import build
from slots.selftest import checks, programs
from slots.selftest.outcome import Outcome
from slots.training import Checkpoints, Trainer, trainer
from slots.training.step import TrainStep

needs_4 = pytest.mark.skipif(len(jax.devices()) < 4, reason="needs 4 devices")
SETTINGS = (*OVERRIDES, "train.batch_size=16")


@pytest.fixture(scope="module")
def over_all() -> Experiment:
    """The tiny experiment on four devices, split in both ways."""
    return build(tiny("train.batch_size=16", "mesh.data=2", "mesh.fsdp=2"))


@needs_4
class TestChecks:
    """In one process with four devices."""

    def test_all_hold(self, over_all: Experiment, tmp_path: Path) -> None:
        found = [
            checks.check_gradients(over_all),
            checks.check_data(over_all),
            checks.check_parameters(over_all),
            checks.check_checkpoint(over_all, tmp_path / "checkpoints"),
            checks.check_memory(over_all),
        ]
        assert [outcome.ok for outcome in found] == [True] * 5, found
        assert "on 1 and 4 devices" in found[0].told
        assert "read in 1, 2, 4 shards" in found[1].told

    def test_gradients_of_other_examples(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A device that gets another's examples, as where parts are placed in a wrong order."""

        def wrong(part: Any, place: Any, size: int) -> Any:
            return jax.device_put(
                jax.tree.map(lambda x: jnp.roll(x, 1, 0).at[0].set(x[0]), part), place
            )

        monkeypatch.setattr(trainer, "spread", wrong)
        outcome = checks.check_gradients(over_all)
        assert not outcome.ok
        assert "differ by" in outcome.told

    def test_gradients_that_are_not_finite(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            TrainStep,
            "gradients",
            lambda self, state, *_: jax.tree.map(lambda x: x * jnp.nan, state.params),
        )
        assert not checks.check_gradients(over_all).ok

    def test_shards_that_overlap(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = type(over_all.dataset)
        whole = own.train

        def first(self: Dataset, size: int, *, start: int = 0, shard: Any = (0, 1)) -> Any:
            return whole(self, size, start=start, shard=(0, shard[1]))

        monkeypatch.setattr(own, "train", first)
        outcome = checks.check_data(over_all)
        assert outcome == Outcome("data", False, "2 shards of step 0 differ in image")

    def test_batches_in_another_order_on_the_mesh(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = trainer.spread
        monkeypatch.setattr(
            trainer,
            "spread",
            lambda part, *words: real(jax.tree.map(lambda x: x[::-1], part), *words),
        )
        outcome = checks.check_data(over_all)
        assert outcome == Outcome("data", False, "on the mesh, the batch of step 0 has other image")

    def test_devices_that_drift_apart(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def drifted(x: jax.Array) -> jax.Array:
            pieces = [jnp.array(shard.data) for shard in x.addressable_shards]
            pieces[-1] = jax.device_put(pieces[-1] + 1e-6, x.addressable_shards[-1].device)
            return jax.make_array_from_single_device_arrays(x.shape, x.sharding, pieces)

        step = over_all.trainer.step()

        def drifting(state: Any, batch: Any) -> Any:
            state, metrics = step(state, batch)
            return dataclasses.replace(state, params=jax.tree.map(drifted, state.params)), metrics

        monkeypatch.setattr(Trainer, "step", lambda self: drifting)
        outcome = checks.check_parameters(over_all)
        assert not outcome.ok
        assert outcome.told.startswith("devices hold different ")

    def test_processes_that_drift_apart(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            checks, "_gathered", lambda totals: np.array([totals, [t + 1 for t in totals]])
        )
        outcome = checks.check_parameters(over_all)
        assert not outcome.ok
        assert outcome.told.startswith("processes hold different ")

    def test_a_checkpoint_that_loses_a_bit(
        self, over_all: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = Checkpoints.restore

        def lossy(self: Checkpoints, *words: Any) -> Any:
            state, step = whole(self, *words)
            params = jax.tree.map(lambda x: x * jnp.float32(1 + 2**-22), state.params)
            return dataclasses.replace(state, params=params), step

        monkeypatch.setattr(Checkpoints, "restore", lossy)
        outcome = checks.check_checkpoint(over_all, tmp_path / "checkpoints")
        assert not outcome.ok
        assert "ends with other bits" in outcome.told

    def test_a_step_that_does_not_fit(
        self, over_all: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checks, "_host_memory", lambda: 8 * 2**10)
        outcome = checks.check_memory(over_all)
        assert not outcome.ok
        assert outcome.told.endswith("of 0.0 MiB a device")


@pytest.mark.slow
class TestPrograms:
    def test_a_killed_run_ends_alike(self) -> None:
        outcome = programs.check_restart(PRESET, SETTINGS)
        assert outcome.ok, outcome
        assert "killed after step" in outcome.told

    def test_a_killed_run_that_ends_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kill = programs._kill

        def meddle(words: list[str], checkpoints: Path) -> int:
            step = kill(words, checkpoints)
            path = checkpoints.parent / "config.json"
            config = json.loads(path.read_text())
            config["data"]["seed"] += 1
            path.write_text(json.dumps(config))
            return step

        monkeypatch.setattr(programs, "_kill", meddle)
        outcome = programs.check_restart(PRESET, SETTINGS)
        assert not outcome.ok
        assert outcome.told.endswith("ended otherwise")

    def test_a_run_that_does_not_start(self) -> None:
        outcome = programs.check_restart(PRESET, ["train.batch_size=0"])
        assert not outcome.ok
        assert "train.batch_size=0 must be at least 1" in outcome.told

    def test_two_processes(self) -> None:
        outcome = programs.check_pair(PRESET, SETTINGS)
        assert outcome.ok, outcome
        assert outcome.told == (
            "two on this machine agree on gradients, data, parameters, checkpoint, memory"
        )

    def test_two_processes_that_find_no_common_settings(self) -> None:
        outcome = programs.check_pair(PRESET, [*SETTINGS, "train.batch_size=6"])
        assert not outcome.ok
        assert "must be a multiple of 4" in outcome.told


class TestCommand:
    def test_lines_and_status(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [Outcome("one", True, "a"), Outcome("two", False, "b")]
        monkeypatch.setattr("slots.selftest.selftest", lambda *words: iter(found))
        assert main(["selftest"]) == 1
        assert capsys.readouterr().out == "ok    one         a\nFAIL  two         b\n"
        found.pop()
        assert main(["selftest", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == dataclasses.asdict(found[0])
