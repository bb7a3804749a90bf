"""Several seeds as one program: each member is the run that its seed is alone."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Experiment, advance, arrays, distance, experiment, same_bits, train_steps

from slots.config import ConfigError
from slots.data import TetrominoesConfig
from slots.training import CheckpointConfig, Checkpoints, LogConfig, RunError, TrainConfig, fit
from slots.training.members import summary, updates
from slots.training.rules import named_leaves

COUNT = 3
WAYS = ("vmapped", "mapped")

needs_8 = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices")


def several(*assignments: str, way: str = "mapped", **data: Any) -> Experiment:
    """Three members."""
    return experiment(f"train.seeds={COUNT}", f"train.members={way}", *assignments, **data)


def alone(number: int, *assignments: str, **data: Any) -> Experiment:
    """The run that member `number` should be."""
    return experiment(f"train.seed={number}", *assignments, seed=number, **data)


@pytest.fixture(scope="module")
def four() -> tuple[Any, list[Any]]:
    """State and losses of three members after four steps, on the host."""
    state, losses = train_steps(several(), 4)
    return jax.device_get(state), losses


class TestOneIsTheSameSeedAlone:
    @pytest.mark.parametrize(
        ("way", "settings"),
        [
            ("vmapped", ()),
            ("mapped", ()),
            ("mapped", ("train.accumulate=2", "optimizer.ema_decay=0.75")),
        ],
        ids=["vmapped", "mapped", "mapped more"],
    )
    def test_trained(self, way: str, settings: tuple[str, ...]) -> None:
        state, losses = train_steps(several(*settings, way=way), 4)
        for i in (0, 2):
            expected, expected_losses = train_steps(alone(i, *settings), 4)
            found = state[i]
            assert jax.tree.structure(found) == jax.tree.structure(expected)
            assert distance(found, expected) < 1e-5
            assert [loss[i] for loss in losses] == pytest.approx(expected_losses, rel=1e-5)

    def test_fresh_to_the_bit(self) -> None:
        state = several().trainer.init()
        for i in (0, 2):
            assert same_bits(state[i], alone(i).trainer.init())

    def test_its_data_to_the_bit(self) -> None:
        trainer = several().trainer
        for step in (0, 3):
            batch = next(trainer.batches(step))
            for i in range(COUNT):
                assert same_bits(batch[i], next(alone(i).trainer.batches(step)))

    def test_a_finite_set_has_scenes_and_order_of_its_own(self) -> None:
        data = TetrominoesConfig(seed=5, train_size=12).make()
        trainer = dataclasses.replace(several().trainer, dataset=data)
        batches = trainer.batches(2)
        for _ in range(3):
            assert [batch.image.shape[0] for batch in next(batches)] == [8] * COUNT
        batch = next(trainer.batches(2))
        for i in range(COUNT):
            lone = TetrominoesConfig(seed=5 + i, train_size=12).make()
            assert same_bits(batch[i], next(lone.train(8, start=2)))
        assert len(np.unique([one.index for one in batch], axis=0)) == COUNT

    def test_they_differ(self, four: tuple[Any, list[Any]]) -> None:
        kernels = [one.params["decoder"]["output"]["kernel"] for one in four[0]]
        assert len(np.unique(kernels, axis=0)) == COUNT
        assert len(set(four[1][-1])) == COUNT


class TestState:
    def test_one_seed_has_no_member_axis(self) -> None:
        trainer = experiment("train.seeds=1").trainer
        state, batch = trainer.init(), next(trainer.batches(0))
        assert state.step.shape == state.skipped.shape == ()
        assert batch.image.shape == (8, 10, 10, 3)
        assert [x.shape for x in arrays(state)] == [
            x.shape for x in jax.tree.leaves(trainer.abstract_member())
        ]

    def test_several_are_a_tuple_of_such(self) -> None:
        trainer = several().trainer
        state, one = trainer.init(), trainer.abstract_member()
        assert isinstance(state, tuple)
        assert len(state) == COUNT
        for found in state:
            assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, one)

    def test_updates(self, four: tuple[Any, list[Any]]) -> None:
        assert updates(four[0]) == 4
        assert [int(one.step) for one in four[0]] == [4, 4, 4]

    def test_the_largest_seeds(self) -> None:
        state = several(f"train.seed={2**32 - COUNT}").trainer.abstract_state()
        assert len(state) == COUNT

    def test_what_is_reported(self) -> None:
        assert summary([np.float32(0.5)]) == 0.5
        found = summary([np.float32(1.0), np.float32(3.0)])
        assert found == {"mean": 2.0, "std": pytest.approx(2**0.5), "members": [1.0, 3.0]}


class TestNotFinite:
    @pytest.mark.parametrize("way", WAYS)
    def test_the_others_go_on_as_they_were(self, way: str) -> None:
        expected, _ = train_steps(several(way=way), 4)
        state, losses = train_steps(several(way=way, bad_steps=(1, 2), bad_seed=1), 4)
        assert [int(one.skipped) for one in state] == [0, 2, 0]
        assert np.isnan(losses).tolist() == [[False, i in (1, 2), False] for i in range(4)]
        for i in (0, 2):
            assert same_bits(state[i], expected[i])

    def test_the_whole_old_state_is_kept(self) -> None:
        built = several(bad_steps=(2,), bad_seed=1)
        good, _ = advance(built, built.trainer.init(), 2)
        before = jax.device_get(good[1])
        after = advance(built, good, 1)[0][1]
        for part in ("params", "variables", "opt_state"):
            assert same_bits(getattr(after, part), getattr(before, part)), part
        assert (int(after.step), int(after.skipped)) == (3, 1)


def run(folder: Path, built: Experiment) -> Any:
    """Trains in `folder` with a checkpoint every two steps and a record of every step."""
    folder.mkdir(exist_ok=True)
    return fit(
        built.trainer,
        folder,
        checkpoint=CheckpointConfig(every=2, keep_latest=3),
        logging_config=LogConfig(every=1, tensorboard=False),
        evaluate=lambda state, step: {},
        evaluate_every=100,
    )


class TestLoop:
    def test_resumes_with_the_same_bits(self, tmp_path: Path) -> None:
        run(tmp_path / "run", several("train.steps=3"))
        state = run(tmp_path / "run", several())
        assert same_bits(state, train_steps(several(), 6)[0])

    def test_too_many_bad_steps_of_one_end_the_run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        built = several(
            "train.max_skipped=1", "train.seed=4", seed=4, bad_steps=(1, 3, 4), bad_seed=6
        )
        with pytest.raises(
            RunError, match=r"2 steps of the member with seed 6 had a loss .* saved at step 4"
        ):
            run(tmp_path / "run", built)
        said = capsys.readouterr().err
        assert "1 steps of the member with seed 6 so far were not finite" in said
        assert "seed 4" not in said
        checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
        state, step = checkpoints.restore(built.trainer.abstract_state())
        checkpoints.close()
        assert step == 4
        assert [int(one.skipped) for one in state] == [0, 0, 2]


@needs_8
class TestDevices:
    MESH = ("mesh.data=2", "mesh.fsdp=4")

    @pytest.mark.parametrize("way", WAYS)
    def test_neither_losses_nor_parameters_depend_on_the_mesh(
        self, way: str, four: tuple[Any, list[Any]]
    ) -> None:
        built = several(*self.MESH, way=way)
        state, losses = train_steps(built, 4)
        np.testing.assert_allclose(losses, four[1], rtol=1e-5)
        assert distance([one.params for one in state], [one.params for one in four[0]]) < 1e-5
        place = named_leaves(state[1].params)["decoder/output/kernel"].sharding.spec
        assert tuple(place) == (None, "fsdp")
        for batch in next(built.trainer.batches(0)):
            assert {shard.data.shape[0] for shard in batch.image.addressable_shards} == {1}
        assert same_bits(built.trainer.init(), several().trainer.init())

    @pytest.mark.parametrize("back", [False, True], ids=["onto eight", "onto one"])
    def test_a_checkpoint_goes_on_elsewhere(
        self, back: bool, tmp_path: Path, four: tuple[Any, list[Any]]
    ) -> None:
        before, after = (several(), several(*self.MESH))[:: -1 if back else 1]
        state, _ = train_steps(before, 2)
        checkpoints = Checkpoints(tmp_path, CheckpointConfig())
        checkpoints.save(2, state)
        checkpoints.wait()
        target = after.trainer.abstract_state()
        restored, _ = checkpoints.restore(target)
        checkpoints.close()
        assert same_bits(restored, state)
        for leaf, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(target), strict=True):
            assert leaf.sharding == wanted.sharding
        state, _ = advance(after, restored, 2)
        assert distance([one.params for one in state], [one.params for one in four[0]]) < 1e-5


@pytest.mark.parametrize(("backend", "compiled"), [("cpu", False), ("gpu", True)])
def test_auto_goes_by_the_device(
    backend: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = several(way="auto").trainer
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert hasattr(trainer.step(), "lower") == compiled  # side by side it is all one call


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"seeds": 0}, r"train\.seeds=0 must be at least 1"),
            (
                {"seed": 2**32 - 2, "seeds": 3},
                r"train\.seed=4294967294 .*train\.seeds=3.*2\*\*32 - 3",
            ),
        ],
        ids=str,
    )
    def test_senseless_ones_are_refused(self, settings: dict[str, int], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            TrainConfig(**settings)

    def test_an_unknown_way_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"train\.members='side by side'"):
            several(way="side by side")

    def test_the_seeds_of_the_data_must_fit_too(self) -> None:
        with pytest.raises(ConfigError, match=r"data\.seed=4294967294 .*train\.seeds=3"):
            several(seed=2**32 - 2)
        assert TrainConfig(seed=2**32 - 3, seeds=3).member_seeds[-1] == 2**32 - 1
        key = jax.random.key_data(jax.random.key(jnp.uint32(2**32 - 1)))
        assert key.tolist() == jax.random.key_data(jax.random.key(2**32 - 1)).tolist()
