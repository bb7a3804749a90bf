"""Tiny experiments shared by the tests of settings, training, evaluation and the command line.

Importing this module keeps compiled programs in `$SLOTS_CACHE`, or in a folder that is gone
afterwards: the same few programs are compiled by many tests and by the processes they start.
"""

import atexit
import contextlib
import dataclasses
import functools
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from slots.cli import main
from slots.config import ConfigError, override
from slots.data import DataConfig, Dataset
from slots.experiment import Experiment, ExperimentConfig, build
from slots.presets import load
from slots.training import Trainer, use_compilation_cache
from slots.training.members import each, updates
from slots.types import Batch

if "SLOTS_CACHE" not in os.environ:
    os.environ["SLOTS_CACHE"] = tempfile.mkdtemp(prefix="slots-tests-")
    atexit.register(shutil.rmtree, os.environ["SLOTS_CACHE"], ignore_errors=True)
use_compilation_cache()

PRESET = "slot_attention/tetrominoes_cpu"

OVERRIDES = (
    "data.held_out_size=16",
    "model.slot_dim=16",
    "model.encoder.window=9",
    "model.encoder.stride=7",
    "model.encoder.hidden=16",
    "model.encoder.features=16",
    "model.encoder.head.hidden=16",
    "model.module.num_iterations=1",
    "model.module.eval_iterations=1",
    "model.module.mlp_hidden=16",
    "model.decoder.hidden=[16]",
    "optimizer.learning_rate=0.01",
    "optimizer.warmup_steps=2",
    "optimizer.decay_steps=20",
    "train.steps=6",
    "train.batch_size=8",
    "eval.protocol=house/image",
    "eval.count=16",
    "eval.batch_size=16",
    "eval.every=100",
    "checkpoint.every=2",
    "log.every=1",
    "log.tensorboard=false",
)
"""Make the demo's preset small: some thousand parameters on 5 × 5 tokens."""


def tiny(*assignments: str) -> ExperimentConfig:
    """The demo's preset made small, with further overrides."""
    return override(load(PRESET), (*OVERRIDES, *assignments))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DotsConfig(DataConfig):
    """A coloured square on noise, made by numpy: nothing to compile. Not registered."""

    size: int = 10
    label_size: int | None = None
    """Side of the label maps; None: no labels."""
    ignore: bool = False
    """Ignores the left half of each label map."""
    bad_steps: tuple[int, ...] = ()
    """Training steps whose pictures hold a NaN."""
    bad_seed: int | None = None
    """Of this seed alone; None: of all."""
    held_out: int = 16

    def make(self) -> "Dots":
        return Dots(self)


class Dots(Dataset):
    """Training batches are a function of seed and step, held-out pictures of their number."""

    def __init__(self, config: DotsConfig):
        self.config = config
        self.image_shape = (config.size, config.size, 3)
        self.max_objects = 0 if config.label_size is None else 1

    def train(
        self, batch_size: int, *, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        assert shard == (0, 1)
        for step in itertools.count(start):
            index = np.arange(batch_size) + step * batch_size
            batch = self._batch(index, self.config.seed)
            if step in self.config.bad_steps and self.config.bad_seed in (None, self.config.seed):
                batch["image"][0] = np.nan
            yield Batch(**jax.device_put(batch))

    def held_out(self, split: str, batch_size: int, count: int | None = None) -> Iterator[Batch]:
        numbers = np.arange(self.size(split) if count is None else count)
        for first in range(0, len(numbers), batch_size):
            batch = self._batch(numbers[first : first + batch_size], 1000)
            yield Batch(**jax.device_put(batch))

    def size(self, split: str) -> int | None:
        if split not in ("train", "val"):
            raise ConfigError(f"no split {split!r}")
        return None if split == "train" else self.config.held_out

    def _batch(self, index: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        config, images, labels = self.config, [], []
        for number in index.tolist():
            draw = np.random.default_rng((seed, number))
            image = draw.uniform(0, 0.2, self.image_shape).astype(np.float32)
            row, column = draw.integers(0, config.size // 2, 2).tolist()
            where = slice(row, row + 4), slice(column, column + 4)
            image[where] = draw.uniform(0.3, 1, 3)
            label = np.zeros((config.size, config.size), np.int32)
            label[where] = 1
            images.append(image)
            labels.append(label)
        batch = {"image": np.stack(images), "index": index.astype(np.int32)}
        if config.label_size is not None:
            places = np.arange(config.label_size) * config.size // config.label_size
            batch["segmentation"] = np.stack(labels)[:, places[:, None], places]
            if config.ignore:
                batch["ignore"] = np.zeros(batch["segmentation"].shape, bool)
                batch["ignore"][:, :, : config.label_size // 2] = True
        return batch


def dots(*assignments: str, **changes: Any) -> ExperimentConfig:
    """The tiny experiment on `DotsConfig(**changes)`; compiles fast, cannot be saved."""
    small = (
        "model.num_slots=3",
        "model.encoder.head.hidden=0",
        "model.module.mlp_hidden=0",
        "model.decoder.product=false",
        "optimizer.clip_norm=null",
        "model.encoder.window=4",
        "model.encoder.stride=2",
        "optimizer.epsilon=0.001",  # or Adam makes rounding errors as large as gradients
        "mesh.data=1",
    )
    config = tiny(*small, *assignments)
    return dataclasses.replace(config, data=DotsConfig(**changes))


@functools.cache
def experiment(*assignments: str, **changes: Any) -> Experiment:
    """`dots(...)` built, once."""
    return build(dots(*assignments, **changes))


def train_steps(built: Experiment, count: int) -> tuple[Any, list[Any]]:
    """State and losses of the first `count` steps, without a run folder."""
    return advance(built, built.trainer.init(), count)


def advance(built: Experiment, state: Any, count: int) -> tuple[Any, list[Any]]:
    """State and losses (of several members, lists) `count` steps on; `state`'s arrays are gone."""
    update, losses = _update(built.trainer), []
    for batch in itertools.islice(built.trainer.batches(updates(state)), count):
        state, metrics = update(state, batch)
        found = [float(one["loss"]) for one in each(metrics)]
        losses.append(found if isinstance(metrics, tuple) else found[0])
    return state, losses


@functools.cache
def _update(trainer: Trainer) -> Any:
    return trainer.step()


def arrays(tree: Any) -> list[np.ndarray]:
    """The leaves on the host."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(tree))]


def same_bits(one: Any, other: Any) -> bool:
    """Whether two trees hold bitwise the same numbers."""
    pairs = list(zip(arrays(one), arrays(other), strict=True))
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def distance(one: Any, other: Any) -> float:
    """The largest difference between two trees."""
    pairs = zip(arrays(one), arrays(other), strict=True)
    return max(float(np.abs(a.astype("f8") - b.astype("f8")).max(initial=0)) for a, b in pairs)


@functools.cache
def trained() -> tuple[Path, str, str]:
    """A run of the tiny experiment by the command line: its folder, stdout and stderr."""
    folder = Path(tempfile.mkdtemp(prefix="slots-tests-")) / "run"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    words = ["train", PRESET, *OVERRIDES, "eval.every=4", "log.tensorboard=true", f"run={folder}"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    assert status == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


def write_pictures(
    folder: Path, count: int, *, size: int = 35, masks: bool = True, objects: int = 1
) -> Path:
    """Pictures of bright squares in `folder/images`, index pictures of them in `folder/masks`."""
    for number in range(count):
        draw = np.random.default_rng(number)
        image = np.zeros((size, size, 3), np.uint8)
        labels = np.zeros((size, size), np.uint8)
        for label in range(1, objects + 1):
            row, column = draw.integers(0, size // 2, 2).tolist()
            where = slice(row, row + size // 3), slice(column, column + size // 3)
            image[where], labels[where] = draw.integers(80, 255, 3), label
        for name, array in {"images": image, **({"masks": labels} if masks else {})}.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name / f"{number:03}.png")
    return folder


def data_files(checkpoint: Path) -> list[Path]:
    """All files that may hold a checkpoint's arrays.

    Some, even the largest, may be left from writing and never read.
    """
    return list((checkpoint / "arrays").rglob("d/*"))
