"""Published data sets: one reader's examples, cut and scaled to batches, split by index ranges."""

import abc
import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, UInt8

from slots.config import ConfigError
from slots.data.base import DataConfig
from slots.data.framing import Fit, Framing, Resample
from slots.data.kept import Kept
from slots.data.pictures import BadFile
from slots.data.records import RecordDataset, located

_PROPERTY = "properties/"
_MAPS = ("segmentation", "semantic")
_RANGE = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<start>\d*):(?P<stop>\d*)\])?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One example at its stored size."""

    image: UInt8[np.ndarray, "h w c"]
    segmentation: Int32[np.ndarray, "h w"] | None = None
    """0 = background, label i + 1 is row i of what each object has."""
    ignore: Bool[np.ndarray, "h w"] | None = None
    semantic: Int32[np.ndarray, "h w"] | None = None
    properties: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """[m, ...] of each object; filled up with zeros."""
    boxes: Float[np.ndarray, "m 4"] | None = None
    """(top, left, bottom, right) in stored pixels, ends exclusive; the property `box` in fractions
    of the batch's picture."""
    visibility: Bool[np.ndarray, "m"] | None = None
    """None: which labels the map still holds once it is cut and scaled."""
    label: int | None = None
    """The scene's own class."""


class Source(abc.ABC):
    """The examples that are stored under one name, in their stored order."""

    where: Path
    """The file or folder that errors name."""
    max_objects: int
    """M; no example has a larger label."""
    classes: tuple[str, ...] = ()
    """Names of `Example.semantic`'s values from 1 on."""
    num_labels: int = 0
    """Number of classes of `Example.label`."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Example:
        """Reads one example; called by several threads.

        Raises:
            BadFile: it cannot be read.
        """

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """Objects of every example; a source that knows them without decoding pictures says so."""
        return np.array([_count(self[i]) for i in range(len(self))], np.int32)


def _count(example: Example) -> int:
    if example.visibility is None:
        raise ConfigError("data.scene_objects needs examples that say how many objects they have.")
    return int(example.visibility.sum())


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredConfig(DataConfig):
    """Settings that all published data sets share.

    A split is a stored name with a range of its examples, in the order they are stored, such as
    `train[60000:60320]`; empty where there is none.
    """

    has_positions: ClassVar[bool] = False
    """Whether properties say where objects are, which mirroring would make wrong."""

    path: str = ""
    """The file or folder; must be set."""
    train: str = "train"
    val: str = "val"
    test: str = ""
    image_size: tuple[int, int] = (128, 128)
    """(height, width) every picture is brought to."""
    label_size: tuple[int, int] | None = None
    """(height, width) of the label maps: nearest neighbour. None: as the pictures."""
    crop: tuple[int, int, int, int] | None = None
    """(top, left, height, width) that is cut from every stored picture first."""
    fit: Fit = "stretch"
    """`stretch` scales to `image_size` whatever the aspect ratio. The others scale until it is
    covered and cut what is too long: `center`, or `random` in training (held out: `center`)."""
    resample: Resample = "bilinear"
    antialias: bool = True
    """No: as TensorFlow's `resize`. Yes: as Pillow and torchvision."""
    channels: int = 3
    """1 or 3. Grey is repeated to 3, colour becomes luminance for 1."""
    flip: bool = False
    """Mirrors every second training picture, drawn anew in every epoch."""
    max_objects: int | None = None
    """M, where the set itself does not say it; a larger label is an error."""
    scene_objects: int | None = None
    """Leaves out scenes with more objects, after the split's range was taken; null keeps all."""

    def __post_init__(self) -> None:
        """Checks what can be known without the files.

        Raises:
            ConfigError: a size, range or count that cannot be.
        """
        for name in ("image_size", "label_size"):
            size = getattr(self, name)
            if size is not None and min(size) < 1:
                raise ConfigError(f"data.{name}={size} should be two positive numbers of pixels.")
        crop = self.crop
        if crop is not None and (min(crop[:2]) < 0 or min(crop[2:]) < 1):
            raise ConfigError(f"data.crop={crop} should be (top, left, height, width) in pixels.")
        if self.channels not in (1, 3):
            raise ConfigError(f"data.channels={self.channels} should be 1 or 3.")
        for name in ("max_objects", "scene_objects"):
            count = getattr(self, name)
            if count is not None and count < 0:
                raise ConfigError(f"data.{name}={count} should be 0 or more, or null.")
        if self.flip and self.has_positions:
            raise ConfigError("data.flip mirrors pictures, but not where properties place objects.")
        self.ranges()

    @property
    def framing(self) -> Framing:
        """How pictures and label maps are cut and scaled."""
        return Framing(
            crop=self.crop, fit=self.fit, resample=self.resample, antialias=self.antialias
        )

    def ranges(self) -> dict[str, tuple[str, slice]]:
        """The stored name and range of each split there is.

        Raises:
            ConfigError: one is not written as `name` or `name[start:stop]`.
        """
        found = {}
        for split in ("train", "val", "test"):
            text = getattr(self, split)
            if not text:
                continue
            match = _RANGE.fullmatch(text)
            start, stop = (match["start"] or "", match["stop"] or "") if match else ("", "")
            if match is None or (start and stop and int(start) >= int(stop)):
                raise ConfigError(
                    f"data.{split}={text!r} should be a stored name with a range of its examples, "
                    "such as train[60000:60320]."
                )
            found[split] = (match["name"], slice(int(start or 0), int(stop) if stop else None))
        return found

    def open(self, name: str) -> Source:
        """The examples stored under `name`.

        Raises:
            ConfigError: `path` does not hold them.
        """
        raise NotImplementedError

    def make(self) -> "StoredDataset":
        """The data set; files are opened when it is first asked for a size or an example.

        Raises:
            ConfigError: `path` is empty or does not exist.
        """
        return StoredDataset(self)


class StoredDataset(RecordDataset):
    """See `StoredConfig`.

    Examples are kept as batches have them once they were read, where their split fits into
    `CACHE_BYTES` (65,000 of 64×64) and is not cut anew at every visit.
    """

    config: StoredConfig

    def __init__(self, config: StoredConfig):
        self.config = config
        self.flip = config.flip
        self.image_shape = (*config.image_size, config.channels)
        self._label_size = config.label_size or config.image_size
        self._ranges = config.ranges()
        located(config.path)
        self._source = functools.cache(config.open)  # shared by copies with another seed
        self._rows = functools.cache(self._find_rows)
        self._names = functools.cache(self._first_names)
        self._kept = Kept()

    @property
    def where(self) -> str:
        """The setting that says which files."""
        return f"data.path={self.config.path}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the settings describe."""
        return tuple(self._ranges)

    @functools.cached_property
    def max_objects(self) -> int:  # type: ignore[override]
        """As the settings or, without one, the largest of all splits' sources."""
        if self.config.max_objects is not None:
            return self.config.max_objects
        return max(source.max_objects for source in self._sources())

    @functools.cached_property
    def num_classes(self) -> int:  # type: ignore[override]
        """Of `Batch.label`."""
        return max(source.num_labels for source in self._sources())

    @functools.cached_property
    def semantic_classes(self) -> int:  # type: ignore[override]
        """Largest class id in `Batch.semantic`."""
        return max(len(source.classes) for source in self._sources())

    def size(self, split: str) -> int:
        """Number of examples in `split`."""
        self.check(split)
        return len(self._rows(split))

    def prepare(self) -> None:
        """Opens every split, so that a missing one shows before the first step."""
        for split in self.splits:
            self._rows(split)

    def read(
        self,
        split: str,
        index: Int32[np.ndarray, "b"],
        places: Float64[np.ndarray, "b"] | None = None,
    ) -> dict[str, np.ndarray]:
        """See `RecordDataset.read`."""
        arrays: dict[str, Any]
        if places is None or self.config.fit != "random":
            read = functools.partial(self._stacked, split, places=None)
            arrays = self._kept.gather(split, self.size(split), index, read)
        else:
            arrays = self._stacked(split, index, places)
        arrays.update({n: arrays[n].astype(np.int32) for n in _MAPS if n in arrays})
        properties = {n: arrays.pop(n) for n in list(arrays) if n.startswith(_PROPERTY)}
        if properties:
            arrays["properties"] = {n.removeprefix(_PROPERTY): x for n, x in properties.items()}
        return arrays

    def _stacked(
        self, split: str, index: Int32[np.ndarray, "b"], places: Float64[np.ndarray, "b"] | None
    ) -> dict[str, Any]:
        """Examples side by side; label maps as narrow as they may be."""
        source, rows = self._source(self._ranges[split][0]), self._rows(split)[index].tolist()
        spots = [None] * len(rows) if places is None else places.tolist()
        found = [self._arrays(source, row, at) for row, at in zip(rows, spots, strict=True)]
        names = self._names(split)
        for row, one in zip(rows, found, strict=True):
            if odd := names ^ set(one):
                raise BadFile(source.where, f"has {min(odd)} in some examples only, see {row}")
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def _first_names(self, split: str) -> frozenset[str]:
        """What the split's first example has, and so all."""
        source = self._source(self._ranges[split][0])
        return frozenset(self._arrays(source, int(self._rows(split)[0]), None))

    def _find_rows(self, split: str) -> Int32[np.ndarray, "n"]:
        """Numbers of the split's examples among its source's."""
        name, part = self._ranges[split]
        source = self._source(name)
        stop = len(source) if part.stop is None else part.stop
        if stop > len(source):
            raise ConfigError(
                f"data.{split}={getattr(self.config, split)!r}, but {source.where} holds "
                f"{len(source):,} examples of {name!r}."
            )
        rows = np.arange(part.start, stop, dtype=np.int32)
        if self.config.scene_objects is not None:
            rows = rows[source.object_counts()[rows] <= self.config.scene_objects]
        if not len(rows):
            raise ConfigError(f"data.{split}={getattr(self.config, split)!r} holds no example.")
        return rows

    def _sources(self) -> list[Source]:
        return [self._source(name) for name in {name for name, _ in self._ranges.values()}]

    def _arrays(self, source: Source, row: int, place: float | None) -> dict[str, np.ndarray]:
        """The fields of one example at the sizes of a batch, properties among them."""
        example, config, most = source[row], self.config, self.max_objects
        framing = config.framing
        try:
            image = framing.image(example.image, config.image_size, place)
        except ValueError as error:
            raise BadFile(source.where, f"example {row} {error}") from error
        arrays: dict[str, Any] = {"image": _with_channels(image, config.channels)}
        for name in ("segmentation", "ignore", "semantic"):
            if (labels := getattr(example, name)) is not None:
                arrays[name] = framing.labels(labels, self._label_size, place)
        visibility = example.visibility
        if "segmentation" in arrays:
            counts = np.bincount(arrays["segmentation"].ravel(), minlength=most + 1)
            if len(counts) > most + 1:
                limit = f"data.max_objects={most}"
                raise BadFile(source.where, f"example {row} has label {len(counts) - 1}, {limit}")
            visibility = counts[1:] > 0 if visibility is None else visibility
            arrays["segmentation"] = arrays["segmentation"].astype(np.min_scalar_type(most))
        if "semantic" in arrays:
            arrays["semantic"] = arrays["semantic"].astype(np.uint16)
        properties = dict(example.properties)
        if example.boxes is not None:
            stored = example.image.shape[:2]
            properties["box"] = framing.boxes(example.boxes, stored, config.image_size, place)
        filled = {_PROPERTY + name: rows for name, rows in properties.items()}
        if visibility is not None:
            filled["visibility"] = visibility
        for name, rows in filled.items():
            if len(rows) > most:
                limit = f"data.max_objects={most}"
                raise BadFile(source.where, f"example {row} has {len(rows)} objects, {limit}")
            arrays[name] = np.zeros_like(rows, shape=(most, *rows.shape[1:]))
            arrays[name][: len(rows)] = rows
        if "visibility" in arrays:
            arrays["num_objects"] = arrays["visibility"].sum(dtype=np.int32)
        if example.label is not None:
            arrays["label"] = np.int32(example.label)
        return arrays


def _with_channels(image: UInt8[np.ndarray, "h w c"], channels: int) -> UInt8[np.ndarray, "h w d"]:
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return np.round(image @ np.array([[0.299], [0.587], [0.114]])).astype(np.uint8)
