"""Stored data sets: examples read by number, their order in training, read ahead."""

import abc
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float64, Int32

from slots.config import ConfigError, nearest
from slots.data.base import Dataset
from slots.data.pictures import BadFile
from slots.types import Batch

THREADS = min(8, os.cpu_count() or 1)
_VISIT = np.dtype([("index", np.int32), ("mirrored", bool), ("place", np.float64)])


class RecordDataset(Dataset):
    """A data set of which a subclass says what splits there are and reads examples by number.

    Training visits all examples once in every epoch, in an order of the seed and the epoch.
    """

    flip: bool = False
    """Mirrors every second training example, drawn anew in every epoch; not where properties say
    where objects are."""

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """The setting that errors about splits name, such as `data.path=DIR`."""

    @property
    @abc.abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits there are."""

    @abc.abstractmethod
    def size(self, split: str) -> int:
        """Number of examples in `split`."""

    @abc.abstractmethod
    def read(
        self,
        split: str,
        index: Int32[np.ndarray, "b"],
        places: Float64[np.ndarray, "b"] | None = None,
    ) -> dict[str, Any]:
        """Fields of `Batch` but `index`, as fresh arrays; called by several threads.

        Args:
            split: name of a split there is.
            index: numbers of the examples in it.
            places: in [0, 1), where training cuts a window out of each picture, for sets that do;
                None: in the middle.

        Raises:
            BadFile: a file cannot be read (any more).
        """

    def prepare(self) -> None:
        """Reads what must be known before a first batch, so that damage shows here."""

    def train(
        self, batch_size: int, *, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Shuffled anew in every epoch; no example comes twice within one.

        Raises:
            ConfigError: there is no split `train`, a file became unreadable meanwhile, or see
                `Dataset.train`.
        """
        split, part = "train", self.part(batch_size, shard)
        self.check(split)
        self.prepare()
        count, seed, flip = self.size(split), self.config.seed % 2**32, self.flip

        @functools.lru_cache(maxsize=4)  # threads work on neighbouring steps, seldom in two epochs
        def visits_of(epoch: int) -> np.ndarray:
            # Grain's own shuffle takes 0.07 ms per record of 805, 7 ms of 7 (grain 0.2.18).
            draw = np.random.default_rng((seed, epoch))
            visits = np.empty(count, _VISIT)
            visits["index"] = draw.permutation(count)
            visits["mirrored"] = draw.random(count) < (0.5 if flip else 0.0)
            visits["place"] = draw.random(count)
            return visits

        def batch_at(step: int) -> dict[str, np.ndarray]:
            epochs, turns = np.divmod(np.array(part) + step * batch_size, count)
            visits = np.array(
                [visits_of(e)[turn] for e, turn in zip(epochs.tolist(), turns, strict=True)]
            )
            index, mirrored = visits["index"], visits["mirrored"]
            arrays = self.read(split, index, visits["place"])
            _mirror(arrays, mirrored)
            return {**arrays, "index": index}

        return _prefetched(batch_at, start, sys.maxsize)

    def held_out(self, split: str, batch_size: int, count: int | None = None) -> Iterator[Batch]:
        """In the order of the examples' numbers. See `Dataset.held_out`."""
        if split == "train":
            others = ", ".join(name for name in self.splits if name != split) or "none"
            raise ConfigError(f"'train' is no held-out split; {self.where} has {others}.")
        self.check(split)
        self.prepare()
        available = self.size(split)
        total = available if count is None else count
        if total > available:
            raise ConfigError(f"{total} examples of {split!r} were asked for; it has {available}.")

        def batch_at(step: int) -> dict[str, np.ndarray]:
            stop = min((step + 1) * batch_size, total)
            index = np.arange(step * batch_size, stop, dtype=np.int32)
            return {**self.read(split, index), "index": index}

        return _prefetched(batch_at, 0, -(-total // batch_size))

    def check(self, split: str) -> None:
        """Raises ConfigError where there is no such split."""
        if split not in self.splits:
            raise ConfigError(
                f"{self.where} has no split {split!r}; it has "
                f"{', '.join(self.splits)}{nearest(split, self.splits) or '.'}"
            )


def located(path: str) -> Path:
    """The file or folder that `data.path` names; `~` is understood.

    Raises:
        ConfigError: none is named, or it does not exist.
    """
    if not path:
        raise ConfigError("data.path is empty; set it to where the data are, data.path=DIR.")
    root = Path(path).expanduser()
    if root.exists():
        return root
    parent = root.absolute().parent
    while not parent.is_dir():
        root, parent = parent, parent.parent
    raise ConfigError(
        f"data.path={path} does not exist: {parent} has no {root.name!r}"
        f"{nearest(root.name, (f.name for f in parent.iterdir())) or '.'}"
    )


def first_words(path: Path) -> list[str]:
    """Of every line that is not empty.

    Raises:
        BadFile: it is no text.
    """
    try:
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except ValueError as error:
        raise BadFile(path, "is no text file with a name a line") from error


def _mirror(arrays: dict[str, Any], which: Bool[np.ndarray, "b"]) -> None:
    """Swaps left and right of these examples, in place."""
    for name in {"image", "segmentation", "ignore", "semantic"} & arrays.keys():
        arrays[name][which] = arrays[name][which, :, ::-1]
    if "box" in arrays.get("properties", {}):
        boxes = arrays["properties"]["box"]
        top, left, bottom, right = np.moveaxis(boxes[which], -1, 0)
        there = (right > left)[..., None]  # rows without an object stay zero
        mirrored = np.stack([top, 1 - right, bottom, 1 - left], axis=-1)
        boxes[which] = np.where(there, mirrored, boxes[which])


def _prefetched(
    batch_at: Callable[[int], dict[str, np.ndarray]], start: int, stop: int
) -> Iterator[Batch]:
    """Batches of the steps from `start` to before `stop`, made ahead by a few threads."""
    import grain

    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=THREADS + 2)
    batches = iter(grain.MapDataset.range(stop).map(batch_at).to_iter_dataset(options))
    batches.set_state({"next_index": start})

    def stream() -> Iterator[Batch]:
        try:
            for arrays in batches:
                yield Batch(**jax.device_put(arrays))
        except BadFile as problem:  # Grain adds lines about its traceback
            raise BadFile(problem.path, problem.reason) from None
        finally:
            batches.close()

    return stream()
