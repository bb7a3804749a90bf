"""Checkpoints: what is kept, what damage is noticed, what is said about it."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import data_files, same_bits

from slots.config import ConfigError
from slots.training import CheckpointConfig, Checkpoints, RunError


def state(step: int) -> dict[str, Any]:
    """A state of every kind of leaf that depends on the step."""
    numbers = jax.random.normal(jax.random.key(step), (64, 32))
    return {
        "params": {"encoder": {"kernel": numbers, "half": numbers.astype(jnp.bfloat16)}},
        "counts": [jnp.arange(5, dtype=jnp.int32) + step, jnp.uint8(step)],
        "flags": jnp.array([True, step % 2 == 0]),
        "step": jnp.int32(step),
    }


def target(tree: Any) -> Any:
    """The abstract state that a checkpoint is restored as."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


TARGET = target(state(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., Checkpoints]]:
    """Opens the folder with the given settings; closes everything at the end."""
    made: list[Checkpoints] = []

    def open_(**settings: Any) -> Checkpoints:
        settings = {"keep_latest": 3, **settings}
        made.append(Checkpoints(folder, CheckpointConfig(**settings)))
        return made[-1]

    yield open_
    for checkpoints in made:
        checkpoints.close()


def fill(checkpoints: Checkpoints, best: dict[int, float | None]) -> None:
    """Saves a state per step, with its metric."""
    for step, value in best.items():
        checkpoints.save(step, state(step), value)
    checkpoints.wait()


Opened = Callable[..., Checkpoints]
NONE = None
NAN = float("nan")


class TestKeeping:
    def test_every_dtype_comes_back_bitwise(self, opened: Opened) -> None:
        checkpoints = opened()
        fill(checkpoints, {3: NONE})
        restored, step = checkpoints.restore(TARGET)
        assert step == 3
        assert jax.tree.structure(restored) == jax.tree.structure(state(3))
        assert same_bits(restored, state(3))

    def test_newest_and_best_are_kept(self, opened: Opened) -> None:
        checkpoints = opened(keep_latest=2)
        fill(checkpoints, {1: 0.1, 2: 0.9, 3: 0.5, 4: 0.2, 5: 0.3})
        assert checkpoints.steps() == [5, 4, 2]
        assert checkpoints.best() == 2
        assert same_bits(checkpoints.restore(TARGET, checkpoints.best())[0], state(2))

    @pytest.mark.parametrize("undefined", [NAN, NONE, float("-inf"), float("inf")])
    def test_an_undefined_metric_does_not_push_out_the_best(
        self, opened: Opened, undefined: float | None
    ) -> None:
        checkpoints = opened(keep_latest=1)
        fill(checkpoints, {1: 0.1, 2: undefined, 3: undefined, 4: undefined})
        assert checkpoints.steps() == [4, 1]
        assert checkpoints.best() == 1

    def test_an_equally_good_newer_one_is_best(self, opened: Opened) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: 0.5, 2: 0.5})
        assert checkpoints.best() == 2

    def test_without_keep_best(self, opened: Opened) -> None:
        checkpoints = opened(keep_latest=2, keep_best=0)
        fill(checkpoints, {1: 0.9, 2: 0.1, 3: 0.2})
        assert checkpoints.steps() == [3, 2]
        assert checkpoints.best() == 3

    def test_nothing_is_best_where_nothing_was_measured(self, opened: Opened) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE, 2: NAN})
        assert checkpoints.best() is None

    def test_the_best_is_remembered_by_the_next_session(self, opened: Opened) -> None:
        first = opened(keep_latest=1)
        fill(first, {1: 0.9, 2: 0.1})
        first.close()
        second = opened(keep_latest=1)
        fill(second, {3: 0.2, 4: 0.3})
        assert second.steps() == [4, 1]
        assert second.best() == 1

    def test_saving_a_step_twice_changes_nothing(self, opened: Opened) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: 0.5})
        checkpoints.save(1, state(7), 0.9)
        checkpoints.wait()
        assert same_bits(checkpoints.restore(TARGET)[0], state(1))

    def test_unfinished_saves_do_not_count(self, opened: Opened, folder: Path) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE})
        shutil.copytree(folder / "1", folder / "2.orbax-checkpoint-tmp-123")
        assert opened().steps() == [1]

    @pytest.mark.parametrize(
        "settings", [{"every": 0}, {"keep_latest": 0}, {"keep_best": -1}], ids=str
    )
    def test_senseless_settings_are_refused(self, settings: dict[str, int]) -> None:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            CheckpointConfig(**settings)


def biggest(folder: Path) -> Path:
    """The largest file."""
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def flip(path: Path, place: float) -> None:
    """Flips a bit at the given fraction of a file."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def flip_data(checkpoint: Path) -> None:
    """Flips a bit in the middle of all that may hold arrays."""
    for path in data_files(checkpoint):
        flip(path, 0.5)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda f: [d.write_bytes(d.read_bytes()[:100]) for d in data_files(f)],
    "emptied": lambda f: [d.write_bytes(b"") for d in data_files(f)],
    "bits flipped": flip_data,
    "data lost": lambda f: [d.unlink() for d in data_files(f)],
    "arrays lost": lambda f: shutil.rmtree(f / "arrays"),
    "records lost": lambda f: shutil.rmtree(f / "records"),
    "records garbled": lambda f: biggest(f / "records").write_text("{"),
    "records of another kind": lambda f: biggest(f / "records").write_text("[1]"),
    "all lost": lambda f: [m.unlink() for m in f.rglob("*") if m.is_file()],
}


class TestDamage:
    @pytest.mark.parametrize("kind", DAMAGE)
    def test_the_one_before_is_taken_and_it_is_said(
        self, kind: str, opened: Opened, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = opened()
        fill(first, {1: NONE, 2: NONE, 3: NONE})
        first.close()
        DAMAGE[kind](folder / "3")
        checkpoints = opened()
        restored, step = checkpoints.restore(TARGET)
        assert step == 2
        assert same_bits(restored, state(2))
        assert "Checkpoint 3 is damaged and passed over" in caplog.text
        assert checkpoints.steps() == [2, 1]
        assert (folder.parent / "damaged" / "3").is_dir()
        fill(checkpoints, {3: NONE})
        assert same_bits(checkpoints.restore(TARGET)[0], state(3))

    def test_no_flipped_bit_goes_unnoticed(
        self, opened: Opened, folder: Path, tmp_path: Path
    ) -> None:
        first = opened()
        fill(first, {1: NONE, 2: NONE})
        first.close()
        files = [f.relative_to(folder) for f in (folder / "2").rglob("*") if f.is_file()]
        assert len(files) > 5
        for i, name in enumerate(files):
            copy = tmp_path / str(i) / "checkpoints"
            shutil.copytree(folder, copy)
            if (copy / name).stat().st_size:
                flip(copy / name, (0.3, 1.0)[i % 2])
            checkpoints = Checkpoints(copy, CheckpointConfig())
            restored, step = checkpoints.restore(TARGET)
            checkpoints.close()
            assert same_bits(restored, state(step)), name

    def test_a_half_deleted_older_one_is_in_nobodys_way(self, opened: Opened, folder: Path) -> None:
        first = opened()
        fill(first, {1: NONE, 2: NONE, 3: NONE})
        first.close()
        shutil.rmtree(folder / "2" / "arrays")
        flip_data(folder / "3")
        checkpoints = opened(keep_latest=2)
        restored, step = checkpoints.restore(TARGET)
        assert step == 1
        assert same_bits(restored, state(1))
        fill(checkpoints, {2: NONE, 3: NONE, 4: NONE})
        assert checkpoints.steps()[:2] == [4, 3]

    def test_where_none_is_sound_all_stay(self, opened: Opened, folder: Path) -> None:
        first = opened()
        fill(first, {1: NONE, 2: NONE})
        first.close()
        for step in ("1", "2"):
            flip_data(folder / step)
        for _ in range(2):  # asking again does not start anew
            with pytest.raises(RunError, match=r"No checkpoint in .* is sound \(tried \[2, 1\]\)"):
                opened().restore(TARGET)
        assert opened().steps() == [2, 1]

    def test_a_chosen_step_is_not_replaced_by_another(self, opened: Opened, folder: Path) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE, 2: NONE})
        flip_data(folder / "2")
        with pytest.raises(RunError, match=r"is sound \(tried \[2\]\)"):
            checkpoints.restore(TARGET, 2)

    def test_reading_moves_nothing(
        self, opened: Opened, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        fill(opened(), {1: NONE, 2: NONE})
        flip_data(folder / "2")
        reader = Checkpoints(folder)
        assert reader.restore(TARGET)[1] == 1
        reader.close()
        assert "Checkpoint 2 is damaged" in caplog.text
        assert (folder / "2").is_dir()
        assert not (folder.parent / "damaged").exists()

    def test_a_damaged_one_is_not_the_best(self, opened: Opened, folder: Path) -> None:
        first = opened()
        fill(first, {1: 0.9, 2: 0.1})
        first.close()
        biggest(folder / "1" / "records").write_text("{")
        assert opened().best() == 2
        assert opened().restore(TARGET)[1] == 2


class TestRefusals:
    def test_there_is_none(self, opened: Opened, folder: Path) -> None:
        with pytest.raises(RunError, match="no finished checkpoint"):
            opened().restore(TARGET)
        with pytest.raises(RunError, match="has no checkpoints"):
            Checkpoints(folder.parent / "elsewhere")

    def test_not_that_step(self, opened: Opened) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE, 2: NONE})
        with pytest.raises(RunError, match=r"no checkpoint of step 999; it has \[2, 1\]"):
            checkpoints.restore(TARGET, 999)

    @pytest.mark.parametrize(
        ("change", "parts"),
        [
            (
                {"params": {"encoder": {"half": jnp.zeros((64, 33), jnp.bfloat16)}}},
                ["params.encoder.half", "bfloat16[64, 33]", "bfloat16[64, 32]"],
            ),
            ({"step": jnp.float32(0)}, ["step", "float32[]", "int32[]"]),
            ({"more": jnp.zeros(2)}, ["more", "float32[2]", "nothing"]),
        ],
        ids=["shape", "dtype", "missing"],
    )
    def test_another_configuration_names_what_differs(
        self, change: dict[str, Any], parts: list[str], opened: Opened, folder: Path
    ) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE, 2: NONE})
        with pytest.raises(RunError, match="another configuration") as caught:
            checkpoints.restore(target({**state(0), **change}))
        for part in parts:
            assert part in str(caught.value)
        assert checkpoints.steps() == [2, 1]

    def test_another_configuration_with_less_in_it(self, opened: Opened) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE})
        less = {k: v for k, v in state(0).items() if k != "flags"}
        with pytest.raises(RunError, match="it holds flags, which this one has not"):
            checkpoints.restore(target(less))


class TestFullDisk:
    def test_one_sentence_and_the_earlier_one_intact(self, opened: Opened, folder: Path) -> None:
        checkpoints = opened()
        fill(checkpoints, {1: NONE})
        big = {**state(2), "params": {"big": jax.random.normal(jax.random.key(0), (256, 1024))}}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def save() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
            try:
                checkpoints.save(2, big)
                checkpoints.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        with pytest.raises(RunError, match="could not be saved") as caught:
            save()
        assert "step 1 is kept" in str(caught.value)
        assert "\n" not in str(caught.value)
        restored, step = opened().restore(TARGET)
        assert step == 1
        assert same_bits(restored, state(1))

    def test_no_space_left_is_called_so(
        self, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoints = opened()

        def fail(*args: Any, **kwargs: Any) -> None:
            raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device\nmore")

        monkeypatch.setattr(checkpoints._manager, "save", fail)
        with pytest.raises(RunError, match="the disk is full; no checkpoint was finished before"):
            checkpoints.save(1, state(1))

    def test_orbax_says_nothing_besides(self, folder: Path) -> None:
        """It has a traceback for each of its threads."""
        code = (
            "import resource, jax; from slots.training import *; from pathlib import Path;"
            f"c = Checkpoints(Path({str(folder)!r}), CheckpointConfig());"
            "big = {f'x{i}': jax.random.normal(jax.random.key(i), (64, 64)) for i in range(8)};"
            "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard));"
            "c.save(1, big)\ntry:\n c.wait()\nexcept RunError as e:\n print(e)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == (
            f"A checkpoint could not be saved in {folder}: File too large; "
            "no checkpoint was finished before it."
        )
        assert done.stderr == ""


def test_records_are_plain_json(opened: Opened, folder: Path) -> None:
    fill(opened(), {1: NONE})
    saved = json.loads(biggest(folder / "1" / "records").read_text())
    assert saved["score"] is None
    records = saved["arrays"]
    assert records["params.encoder.half"][:2] == [[64, 32], "bfloat16"]
    assert all(isinstance(record[2], int) for record in records.values())
    assert np.shape(records["step"][0]) == (0,)
