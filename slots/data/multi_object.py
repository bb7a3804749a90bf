"""Multi-Object Datasets (Kabra et al. 2019): scenes with the mask and factors of every entity.

The publisher (Google DeepMind, bucket `multi-object-datasets`) stores each set as one TFRecord file
that is compressed as a whole, so that no record can be picked: its scenes are kept in memory, or
converted once by `scripts/convert.py` to a folder with random access.
"""

import abc
import dataclasses
import functools
import itertools
import logging
import time
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int32, Shaped

from slots.config import ConfigError
from slots.data.multi_object_layout import (
    LAYOUTS,
    ROOM,
    VISIBILITY,
    Variant,
    decode,
    scene_of,
)
from slots.data.pictures import BadFile, load_labels, load_picture
from slots.data.records import located
from slots.data.stored import Example, Source, StoredConfig
from slots.data.tfds_records import Records, load_json
from slots.data.tfrecord import iterate, parse

MAX_MEMORY = 2 * 2**30
"""Bytes that the scenes of a published file may take."""
_SPLIT = "train"
_PROGRESS_SECONDS = 10.0
_log = logging.getLogger("slots")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiObjectConfig(StoredConfig):
    """Tetrominoes, Multi-dSprites, CLEVR with masks and Objects Room; splits are ranges of `train`.

    The default splits are those of Slot Attention for Tetrominoes (35×35) and Multi-dSprites
    (64×64); ISA takes 100 to 611 and 0 to 99, GENESIS tests on the first 10,000. CLEVR (240×320):
    Slot Attention's are `train[:70000]` and `train[70000:70320]` with `crop=[29,64,192,192]`,
    `image_size=[128,128]`, `antialias=false`, and `scene_objects=6` for CLEVR6. Objects Room
    (64×64): GENESIS takes `train[20000:]`, `train[10000:20000]` and tests on `train[:10000]`; its
    three test sets are files of 922 scenes, read as variants of their own.

    Labels are entities in stored order. Properties are the stored factors of the objects: floats as
    they are, CLEVR's codes as int32 (see `CODES`). `visibility` is the stored flag, which says that
    an object exists; it may be covered or cut off. Not settled by public sources: what `x` and `y`
    of Tetrominoes refer to, the order of its shape codes, and that 2 and 3 are ellipse and heart in
    Multi-dSprites.

    Objects Room has masks alone: `visibility` is whether one is empty. Sky, floor and two walls
    (entities 0 to 3) are background, and `semantic` holds the entities as stored, for scores that
    count them. Where only one wall is in view, a scene may be stored with three backgrounds, so
    that its first object is entity 3 and becomes background too; nothing in the file says which
    scenes these are.
    """

    has_positions: ClassVar[bool] = True

    path: str = ""
    """The published `.tfrecords` file, whose scenes up to the largest one of all splits are kept in
    memory (2 GiB at most, beside what `StoredDataset` keeps), or the folder that
    `scripts/convert.py` makes of it."""
    train: str = "train[:60000]"
    val: str = "train[60000:60320]"
    image_size: tuple[int, int] = (64, 64)
    variant: Variant = "multi_dsprites_colored_on_grayscale"
    """Which set the file or folder holds."""
    backgrounds: int | None = None
    """How many of a scene's first entities are background. None: as published, 4 in Objects Room
    and 1 elsewhere; 1 for ISA's score on Objects Room, which counts floor and walls as objects."""

    def __post_init__(self) -> None:
        """See `StoredConfig`; refuses backgrounds that the set has not."""
        super().__post_init__()
        most = LAYOUTS[self.variant].backgrounds
        if self.backgrounds is not None and not 1 <= self.backgrounds <= most:
            raise ConfigError(
                f"data.backgrounds={self.backgrounds} should be from 1 to {most}, or null."
            )

    def open(self, name: str) -> "MultiObjectSource":
        """The scenes; see `StoredConfig.open`."""
        if name != _SPLIT:
            raise ConfigError(
                f"data.path={self.path} has no scenes named {name!r}; write splits as ranges of "
                f"{_SPLIT!r}, such as train[60000:60320]."
            )
        folder = located(self.path).is_dir()
        return ConvertedSource(self) if folder else PublishedSource(self)


class MultiObjectSource(Source):
    """See `MultiObjectConfig`."""

    def __init__(self, config: MultiObjectConfig):
        self.where = located(config.path)
        self._variant = config.variant
        self._layout = LAYOUTS[config.variant]
        self._first = config.backgrounds or self._layout.backgrounds
        self.max_objects = self._layout.entities - self._first
        self.classes = ROOM[: self._layout.entities - 1] if self._layout.backgrounds > 1 else ()

    @abc.abstractmethod
    def _scene(self, index: int) -> np.void:
        """One element of `Layout.dtype`."""

    @abc.abstractmethod
    def _visibility(self) -> Shaped[np.ndarray, "n e"]:
        """Of all scenes, backgrounds included."""

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        scene, layout = self._scene(index), self._layout
        entities = scene["entities"].astype(np.int32)
        numbers = [name for name in layout.numbers if name != "visibility"]
        return Example(
            image=scene["image"],
            segmentation=np.maximum(entities - (self._first - 1), 0),
            semantic=entities if self.classes else None,
            properties={name: scene[name][self._first :] for name in numbers}
            | {name: scene[name][self._first :].astype(np.int32) for name in layout.codes},
            visibility=scene["visibility"][self._first :] > 0,
        )

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """From `visibility`, which counts the background, too, as published."""
        return (self._visibility()[:, self._first :] > 0).sum(axis=1, dtype=np.int32)


class PublishedSource(MultiObjectSource):
    """A published file, streamed once up to the last scene that a split needs.

    Raises:
        ConfigError: the scenes would take more than `MAX_MEMORY`.
    """

    def __init__(self, config: MultiObjectConfig):
        super().__init__(config)
        stops = [part.stop for _, part in config.ranges().values()]
        self._count = self._layout.records if None in stops else max(stops)
        if (size := self._count * self._layout.dtype.itemsize) > MAX_MEMORY:
            raise ConfigError(
                f"{self.where}: {self._count:,} scenes take {size / 2**30:.1f} GiB of memory, more "
                f"than {MAX_MEMORY / 2**30:.0f}; convert the file once with `python "
                f"scripts/convert.py multi_object --variant {self._variant} {self.where} OUT` and "
                "set data.path=OUT."
            )

    def __len__(self) -> int:
        """Number of scenes that were read."""
        return len(self._scenes)

    def _scene(self, index: int) -> np.void:
        return self._scenes[index]

    def _visibility(self) -> Shaped[np.ndarray, "n e"]:
        return self._scenes["visibility"]

    @functools.cached_property
    def _scenes(self) -> np.ndarray:
        _log.info("Reading up to %s scenes of %s into memory.", f"{self._count:,}", self.where)
        scenes = np.empty(self._count, self._layout.dtype)
        done, reported = 0, time.monotonic()
        for record in itertools.islice(iterate(self.where), self._count):
            scenes[done] = decode(record, self._variant, self.where)
            done += 1
            if time.monotonic() - reported >= _PROGRESS_SECONDS:
                reported = time.monotonic()
                _log.info(
                    "Read %s of %s scenes of %s.", f"{done:,}", f"{self._count:,}", self.where
                )
        return scenes[:done]


class ConvertedSource(MultiObjectSource):
    """A folder made by `scripts/convert.py`.

    Raises:
        BadFile: the folder is of another set, damaged or incomplete.
    """

    def __init__(self, config: MultiObjectConfig):
        super().__init__(config)
        note = self.where / "dataset_info.json"
        if not note.exists():
            raise BadFile(
                self.where, f"is no finished work of scripts/convert.py, without {note.name}"
            )
        if (name := load_json(note).get("name")) != config.variant:
            raise BadFile(note, f"says that this is {name}, not data.variant={config.variant}")
        self._records = Records(self.where, _SPLIT)

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self._records)

    def _scene(self, index: int) -> np.void:
        shard = self._records.file(index)
        found: dict[str, Any] = dict(parse(self._records[index], shard))
        if isinstance(files := found.get("image"), list) and files:
            found["image"] = load_picture(shard, self._layout.picture[-1], files[0])
        if isinstance(files := found.get("entities"), list) and files:
            found["entities"] = load_labels(shard, files[0])
        return scene_of(found, self._variant, shard)

    def _visibility(self) -> Shaped[np.ndarray, "n e"]:
        table = self.where / VISIBILITY
        try:
            found = np.load(table, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadFile(table, "is missing or damaged") from error
        if np.shape(found) != (len(self), self._layout.entities):
            raise BadFile(table, f"is not of these {len(self):,} scenes")
        return found
