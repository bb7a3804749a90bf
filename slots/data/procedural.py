"""Generated data sets: scenes computed from their number, so that nothing is stored or downloaded.

A scene is a function of (seed, split, index). Held-out splits leave the seed out, so that every run
is scored on the same scenes. A set is a subclass that draws one scene from one key; the streams,
splits and orders live here.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Key, ScalarLike, UInt8, UInt32

from slots.config import ConfigError
from slots.data.base import DataConfig, Dataset
from slots.types import Batch

SCENES_PER_CALL = 512
"""Scenes generated at once: dispatch is shared by many steps and the result still fits a cache."""

_SPLITS = {"train": 0, "val": 1, "test": 2}
_PURPOSES = {**_SPLITS, "order": 3}  # that of the visits to a finite training set has its own key
_SEEDED = ("train", "order")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProceduralConfig(DataConfig):
    """Settings of every generated data set."""

    held_out_size: int = 320
    """Scenes in `val` and in `test`; published results on these sets are means over 320."""
    train_size: int | None = None
    """Scenes in a finite training set, reshuffled every epoch; None draws new ones for ever."""

    def __post_init__(self) -> None:
        """Raises ConfigError for a size below 1 or a seed that does not fit 32 bits."""
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"data.seed={self.seed} should be at least 0 and below 2**32.")
        if self.held_out_size < 1:
            raise ConfigError(f"data.held_out_size={self.held_out_size} should be at least 1.")
        if self.train_size is not None and self.train_size < 1:
            raise ConfigError(f"data.train_size={self.train_size} should be null or at least 1.")


class ProceduralDataset(Dataset):
    """Streams of generated scenes; arrays stay on JAX's default device.

    A scene depends on its number alone, never on the batch size or on how many were drawn at once.
    """

    config: ProceduralConfig

    def __init__(self, config: ProceduralConfig) -> None:
        self.config = config
        self._generate = jax.jit(self._scenes, static_argnames=("rows", "batch_size", "steps"))

    @abc.abstractmethod
    def scene(self, key: Key[Array, ""]) -> dict[str, Any]:
        """One scene: the fields of `Batch` by name, without batch axis and without `index`.

        Pure and traceable: it runs under `jax.vmap` and `jax.jit`. The settings' seed has no part
        in it but through the key, for data sets that differ in their seed share the program.
        """

    def train(
        self, batch_size: int, *, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Batches of step `start`, `start + 1`, ... without end; see `Dataset.train`.

        Step t holds scenes t * batch_size, ... With `train_size` n these numbers are places in a
        sequence of epochs, each of which visits the n scenes once in an order of its own, and
        `Batch.index` (int32) is the scene's number in 0 to n - 1.
        """
        size = self.config.train_size
        steps = max(1, SCENES_PER_CALL // batch_size)
        key, count, rows = self._key("train"), steps * batch_size, self.part(batch_size, shard)
        # The most epochs a call can touch. Sorting is dear: once per epoch, not once per call.
        epochs = 1 if size is None else (size + count - 2) // size + 1
        shuffled, orders = None, None
        for step in itertools.count(start, steps):
            first = step * batch_size
            if size is not None:
                epoch, first = divmod(first, size)
                if epoch != shuffled:
                    shuffled, orders = epoch, _orders(self._key("order"), epoch, epochs, size)
            scenes = self._generate(key, first, orders, rows, batch_size, steps)
            for t in range(steps):
                yield _rows(scenes, t * len(rows), len(rows))

    def held_out(self, split: str, batch_size: int, count: int | None = None) -> Iterator[Batch]:
        """The first `count` scenes (None: all) of `val` or `test`, in order; see `Dataset`.

        Raises:
            ConfigError: there is no such split, or it holds fewer than `count` scenes.
        """
        size = self.size(split)
        if split == "train" or size is None:
            raise ConfigError(f"split={split!r} is not held out; it should be one of val, test.")
        if count is not None and not 0 <= count <= size:
            raise ConfigError(
                f"{split} holds {size} scenes (data.held_out_size), but {count} were asked for."
            )
        total = size if count is None else count
        key = self._key(split)
        # An inner generator, so that a wrong request fails where it is made.
        return (
            self._generate(key, first, None, range(min(batch_size, total - first)))
            for first in range(0, total, batch_size)
        )

    def size(self, split: str) -> int | None:
        """Number of scenes in `split`; None for a training stream without end.

        Raises:
            ConfigError: there is no such split.
        """
        if split not in _SPLITS:
            raise ConfigError(f"split={split!r} should be one of {', '.join(_SPLITS)}.")
        return self.config.train_size if split == "train" else self.config.held_out_size

    def _key(self, purpose: str) -> Key[Array, ""]:
        """Root of a split's scenes. The seed joins after the split, and only in training."""
        # A named generator, so that a user's default for other randomness cannot change the data.
        key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), _PURPOSES[purpose])
        return jax.random.fold_in(key, jnp.uint32(self.config.seed)) if purpose in _SEEDED else key

    def _scenes(
        self,
        key: Key[Array, ""],
        first: ScalarLike,
        orders: Int32[Array, "e n"] | None,
        rows: range,
        batch_size: int = 0,
        steps: int = 1,
    ) -> Batch:
        """Scenes of these rows of `steps` batches.

        The first batch begins at `first`: a number, or a place in the epochs of `orders`.
        """
        numbers = np.arange(steps)[:, None] * batch_size + np.array(rows)[None]
        index = jnp.asarray(numbers.ravel(), jnp.int32) + first
        if orders is not None:
            index = orders[index // orders.shape[1], index % orders.shape[1]]
        scenes = jax.vmap(lambda i: self.scene(jax.random.fold_in(key, i)))(index)
        return Batch(index=index, **scenes)


@functools.partial(jax.jit, static_argnames=("epochs", "size"))
def _orders(key: Key[Array, ""], first: ScalarLike, epochs: int, size: int) -> Int32[Array, "e n"]:
    """Visiting orders of `size` scenes in epochs `first`, `first + 1`, ..."""
    keys = jax.vmap(lambda e: jax.random.fold_in(key, e))(first + jnp.arange(epochs))
    return jax.vmap(lambda k: jax.random.permutation(k, size))(keys)


@functools.partial(jax.jit, static_argnames="count")
def _rows(batch: Batch, first: ScalarLike, count: int) -> Batch:
    """`count` examples of `batch` from `first` on, in one dispatch."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, count), batch)


def pack(color: UInt32[Array, "m 3"]) -> UInt32[Array, "m"]:
    """Paint of objects 1 to m: RGB in the three low bytes of a word, the label in the top one.

    A pixel painted with one word needs one write or one selection instead of four.
    """
    label = jnp.arange(1, color.shape[0] + 1, dtype=jnp.uint32)
    return color[:, 0] | color[:, 1] << 8 | color[:, 2] << 16 | label << 24


def unpack(canvas: UInt32[Array, "h w"]) -> tuple[UInt8[Array, "h w 3"], Int32[Array, "h w"]]:
    """Picture and label map of a canvas painted with words of `pack`; unpainted is 0."""
    channels = [(canvas >> shift).astype(jnp.uint8) for shift in (0, 8, 16)]
    return jnp.stack(channels, axis=-1), (canvas >> 24).astype(jnp.int32)


def zero_unless(exists: Bool[Array, "m"], properties: dict[str, Array]) -> dict[str, Array]:
    """Properties [M, ...] of objects, zero for those that do not exist."""
    return {
        name: jnp.where(exists.reshape(-1, *[1] * (values.ndim - 1)), values, 0)
        for name, values in properties.items()
    }


def check_numbers(least: int, most: int) -> None:
    """Raises ConfigError unless `data.min_objects` and `data.max_objects` can be drawn."""
    if not 0 <= least <= most:
        raise ConfigError(f"data.min_objects={least} should be from 0 to data.max_objects={most}.")
    if not 1 <= most <= 10:
        raise ConfigError(f"data.max_objects={most} should be from 1 to 10.")


def hsv_to_rgb(hsv: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
    """Hue, saturation and value, all in [0, 1], as red, green and blue."""
    hue, saturation, value = hsv.T
    offsets = jnp.array([[5.0, 3.0, 1.0]])  # of red, green and blue on the colour circle
    place = jnp.mod(offsets + 6.0 * hue[:, None], 6.0)
    fade = jnp.clip(jnp.minimum(place, 4.0 - place), 0.0, 1.0)
    return value[:, None] * (1.0 - saturation[:, None] * fade)


def place_apart(
    candidates: Float[Array, "m c 2"], reach: Float[Array, "m"]
) -> tuple[Float[Array, "m 2"], Bool[Array, "m"]]:
    """Places of objects one after the other, each the first candidate clear of those before.

    Args:
        candidates: of each object, in the order they are tried; NaN for one that is not to be.
        reach: of each object from its place; circles of that radius don't meet.

    Returns:
        The places, and whether there was one.
    """
    count = len(reach)

    def place(
        carry: tuple[Float[Array, "m 2"], Bool[Array, "m"]], number: Int32[Array, ""]
    ) -> tuple[tuple[Float[Array, "m 2"], Bool[Array, "m"]], None]:
        position, placed = carry
        mine = candidates[number]
        squared = jnp.square(mine[:, None] - position[None]).sum(axis=-1)
        touch = jnp.square(reach + reach[number])
        clear = ((squared > touch[None]) | ~placed[None]).all(axis=1) & jnp.isfinite(mine[:, 0])
        chosen = mine[jnp.argmax(clear)]
        return (position.at[number].set(chosen), placed.at[number].set(clear.any())), None

    start = (jnp.zeros((count, 2)), jnp.zeros(count, bool))
    return jax.lax.scan(place, start, jnp.arange(count), unroll=True)[0]
