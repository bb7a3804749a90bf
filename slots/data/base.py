"""What every data set answers, so that training and evaluation need not know which one it is."""

import abc
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from slots.config import Component, ConfigError
from slots.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Component):
    """Settings every data set has."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    seed: int = 0
    """Decides order and content of the training stream; apart from `train.seed`."""

    def make(self) -> "Dataset":
        """The data set; opens nothing heavy before its first batch is asked for.

        Raises:
            ConfigError: files are missing or the settings don't fit them.
        """
        raise NotImplementedError


class Dataset(abc.ABC):
    """A training stream without end and held-out splits of fixed content.

    Batches carry host or single-device arrays of static shape; the training loop places them on
    the mesh.
    """

    config: DataConfig
    """Where `train` reads its seed, whenever it is called."""
    image_shape: tuple[int, int, int]
    """(H, W, C)."""
    max_objects: int
    """M: labels are 0 (background) to M. 0 where there are no labels."""
    num_classes: int = 0
    """Of `Batch.label`. 0 where scenes have no class."""
    semantic_classes: int = 0
    """Largest class id in `Batch.semantic`. 0 where pixels have no class."""

    @abc.abstractmethod
    def train(
        self, batch_size: int, *, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Batches of step `start`, `start + 1`, ... without end.

        The batch of a step is a function of the settings (seed included), the batch size and the
        step alone, so that resuming is a matter of `start`. `Batch.index` is the number of the
        scene or record, which comes again in every epoch of a finite set.

        Args:
            batch_size: examples of a step, in all processes together.
            start: the first step.
            shard: (p, P) for the p-th (from 0) of P processes: the p-th of P equal parts of every
                batch. Together they are the batches of one process.

        Raises:
            ConfigError: `batch_size` has no P equal parts.
        """

    @abc.abstractmethod
    def held_out(self, split: str, batch_size: int, count: int | None = None) -> Iterator[Batch]:
        """The first `count` examples (None: all) of a held-out split, in order, once.

        Never an example of the training stream; independent of `seed`. The last batch may be
        smaller. `Batch.index` counts from 0 within the split.

        Raises:
            ConfigError: there is no such split, or it holds fewer than `count` examples.
        """

    @abc.abstractmethod
    def size(self, split: str) -> int | None:
        """Number of examples in `split`; None for a stream without end."""

    @staticmethod
    def part(batch_size: int, shard: tuple[int, int]) -> range:
        """Which rows of a batch are the shard's.

        Raises:
            ConfigError: `batch_size` has no equal parts.
        """
        number, of = shard
        if batch_size % of:
            raise ConfigError(f"train.batch_size={batch_size} can't be shared by {of} processes.")
        size = batch_size // of
        return range(number * size, (number + 1) * size)

    def with_seed(self, seed: int) -> "Dataset":
        """The same data set with the training stream of `data.seed=seed`.

        Everything else is shared, so that what is kept besides `config` must not depend on the
        seed, and what is opened late should be kept where copies find it.
        """
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, seed=seed)
        return other
