"""Sets that TensorFlow Datasets (TFDS) has prepared, read without TensorFlow."""

import dataclasses
import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32, Shaped

from slots.config import ConfigError
from slots.data.pictures import BadFile, load_labels, load_picture
from slots.data.records import THREADS, located
from slots.data.stored import Example, Source, StoredConfig
from slots.data.tfds_features import Features
from slots.data.tfds_records import Records

_MAPS = ("segmentation", "semantic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsConfig(StoredConfig):
    """Any set in the layout of TFDS: `path` is the folder of one version.

    Such a folder has `features.json`, `dataset_info.json` and ArrayRecord or (uncompressed)
    TFRecord files. Stored names are the builder's splits. Settings name features by their paths,
    such as `objects/color`; of properties, rows are objects.

    Where `image` is a sequence of pictures, every frame is an example: number clip · T + t, with T
    as the features or else the first clip say. Maps, boxes and properties are the frame's: the
    second axis of a property is time where it is as long as a clip.

    CLEVR 3.1.0 (Johnson et al. 2017; 320×480) has `objects`, ten at most, none in `test`:
    `properties=[position=objects/3d_coords,color=objects/color,...]`. MOVi 1.0.0 (Greff et al.
    2022; 24 frames): `image=video segmentation=segmentations visibility=instances/visibility
    boxes=instances/bboxes box_frames=instances/bbox_frames`, at most 10 objects in A to C, 23 in D
    to F. Results on it are reported on `validation`; A, B and F have no `test`, that of the others
    has unseen objects. Its boxes and visibility count pixels of the rendering, which is twice as
    large as the pictures of 128×128; there masks lie half a pixel beside pictures.
    """

    val: str = "validation"
    image: str = "image"
    """A picture, or a sequence of them."""
    segmentation: str = ""
    """Label maps of `image`, 0 = background."""
    label_offset: int = 0
    """Subtracted from labels, but not below 0: 1 for MultiShapeNet, where 1 is background and 0 an
    error of rendering."""
    semantic: str = ""
    """Maps of class ids, 0 = none."""
    label: str = ""
    """The scene's own class."""
    boxes: str = ""
    """(top, left, bottom, right) as fractions of the picture, each object's; property `box`."""
    box_frames: str = ""
    """The frame of each box, where objects have boxes only in frames that show them; elsewhere
    their box is empty."""
    visibility: str = ""
    """A number of each object, above 0 where it is seen. Empty: seen is what the label map holds
    or, without one, every object."""
    properties: tuple[str, ...] = ()
    """Each as `name=path`. Classes become 1, 2, ... in the set's own order."""

    def __post_init__(self) -> None:
        """See `StoredConfig`.

        Raises:
            ConfigError: a property that has no name or another's, or see there.
        """
        for text in self.properties:
            if not all(text.partition("=")):
                raise ConfigError(
                    f"data.properties: {text!r} should be name=path, such as color=objects/color."
                )
        names = [text.split("=")[0] for text in self.properties]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"data.properties has {', '.join(twice)} more than once.")
        if self.box_frames and not self.boxes:
            raise ConfigError("data.box_frames says when data.boxes are; set both or neither.")
        super().__post_init__()

    @property
    def has_positions(self) -> bool:  # type: ignore[override]
        """Any property may be one."""
        return bool(self.properties)

    def open(self, name: str) -> "TfdsSource":
        """The split `name`; see `StoredConfig.open`."""
        return TfdsSource(self, name)


class TfdsSource(Source):
    """See `TfdsConfig`."""

    def __init__(self, config: TfdsConfig, name: str):
        self._config = config
        self.where = prepared(config.path)
        self._features = Features(self.where)
        self._records = Records(self.where, name)
        self._properties = dict(text.split("=", 1) for text in config.properties)
        self._rows = [path for path in (config.boxes, *self._properties.values()) if path]
        pictures = (config.image, *(getattr(config, name) for name in _MAPS))
        others = (config.label, config.box_frames, config.visibility)
        self._paths = sorted({path for path in (*pictures, *others, *self._rows) if path})
        # Held out, a clip's frames are asked for one after the other: with ArrayRecord and a record
        # of 20 MB, one takes 5 ms in place of 24.
        self._latest = functools.lru_cache(THREADS)(lambda n: self._read(n, self._paths))
        self._check()

    def _check(self) -> None:
        """That every setting names a feature of its kind."""
        config, features = self._config, self._features
        self._clips = len(features.picture("image", config.image).shape) == 1
        for setting in _MAPS:
            if path := getattr(config, setting):
                spec = features.picture(setting, path)
                if (len(spec.shape) == 1) != self._clips:
                    raise ConfigError(f"data.{setting}={path} is not one map for each data.image.")
        if config.semantic:
            features.names("semantic", config.semantic, of_pixels=True)
        if config.label:
            features.names("label", config.label, of_pixels=False)
        for path in self._properties.values():
            features.rows("properties", path)
        if config.visibility:
            features.rows("visibility", config.visibility)
        if config.boxes:
            features.boxes("boxes", config.boxes, ragged=bool(config.box_frames))
        if config.box_frames:
            features.rows("box_frames", config.box_frames, ragged=True)

    def __len__(self) -> int:
        return len(self._records) * self._frames

    @functools.cached_property
    def _frames(self) -> int:
        """T; 1 where examples are no frames."""
        path = self._config.image
        if not self._clips or not len(self._records):
            return 1
        return self._features.specs[path].shape[0] or len(self._read(0, {path})[path])

    @functools.cached_property
    def max_objects(self) -> int:  # type: ignore[override]
        """As the features say; 0 where nothing about objects is read.

        Raises:
            ConfigError: they do not say it.
        """
        config = self._config
        paths = [path for path in (*self._rows, config.visibility) if path]
        counts = [self._features.specs[path].shape[0] for path in paths]
        if not counts and not config.segmentation:
            return 0
        if not counts or None in counts:
            raise ConfigError(
                f"{self.where} does not say how many objects there can be; set data.max_objects."
            )
        return max(counts)

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the set names them."""
        path = self._config.semantic
        return self._features.names("semantic", path, of_pixels=True)[1:] if path else ()

    @property
    def num_labels(self) -> int:  # type: ignore[override]
        """As the set says."""
        path = self._config.label
        return len(self._features.names("label", path, of_pixels=False)) if path else 0

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """By visibility or else by the rows of boxes or properties; no picture is decoded."""
        seen = self._config.visibility
        if not seen and not self._rows:
            return super().object_counts()
        path, counts = seen or self._rows[0], []
        for record in range(len(self._records)):
            rows = self._read(record, {path})[path]
            for t in range(self._frames):
                counts.append((self._at(rows, t) > 0).sum() if seen else len(rows))
        return np.array(counts, np.int32)

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        config = self._config
        record, t = divmod(index, self._frames)
        file, found = self._records.file(record), dict(self._latest(record))
        if self._clips:
            for path in (config.image, config.segmentation, config.semantic):
                if path and len(found[path]) != self._frames:
                    reason = f"has a clip of {len(found[path])} {path} in place of {self._frames}"
                    raise BadFile(file, reason)
                if path:
                    found[path] = found[path][t]
        image = load_picture(file, config.channels, found[config.image])
        maps = {name: load_labels(file, found[p]) for name in _MAPS if (p := getattr(config, name))}
        if "segmentation" in maps:
            maps["segmentation"] = np.maximum(maps["segmentation"] - config.label_offset, 0)
        properties = {name: self._property(found, p, t) for name, p in self._properties.items()}
        boxes = None
        if config.boxes:
            boxes = self._boxes(found, t, file) * np.tile(image.shape[:2], 2)
        return Example(
            image=image,
            **maps,
            properties=properties,
            boxes=boxes,
            visibility=self._visible(found, t),
            label=int(found[config.label]) if config.label else None,
        )

    def _read(self, record: int, paths: Collection[str]) -> dict[str, Any]:
        return self._features.read(self._records[record], paths, self._records.file(record))

    def _at(self, rows: np.ndarray, t: int) -> Shaped[np.ndarray, "m *rest"]:
        """What belongs to the frame."""
        timed = self._clips and rows.ndim > 1 and rows.shape[1] == self._frames
        return rows[:, t] if timed else rows

    def _property(self, found: dict[str, Any], path: str, t: int) -> np.ndarray:
        rows = self._at(found[path], t) + self._features.is_class(path)
        return rows.astype(np.float32 if rows.dtype.kind == "f" else np.int32)

    def _boxes(self, found: dict[str, Any], t: int, file: Path) -> Float64[np.ndarray, "m 4"]:
        rows = found[self._config.boxes]
        if not self._config.box_frames:
            return self._at(rows, t).astype(np.float64)
        boxes = np.zeros((len(rows), 4))
        try:
            for box, each, frames in zip(boxes, rows, found[self._config.box_frames], strict=True):
                for one, frame in zip(each, frames, strict=True):
                    if frame == t:
                        box[:] = one
        except ValueError as error:
            raise BadFile(file, "has boxes and frames of boxes in different numbers") from error
        return boxes

    def _visible(self, found: dict[str, Any], t: int) -> Bool[np.ndarray, "m"] | None:
        if self._config.visibility:
            return self._at(found[self._config.visibility], t) > 0
        if self._config.segmentation or not self._rows:
            return None
        return np.ones(len(found[self._rows[0]]), bool)


def prepared(path: str) -> Path:
    """The folder of one version at `path`.

    Raises:
        ConfigError: it is none; versions inside it are named.
    """
    folder = located(path)
    if (folder / "features.json").is_file():
        return folder
    inside = [
        f.parent for depth in ("*", "*/*", "*/*/*") for f in folder.glob(f"{depth}/features.json")
    ]
    versions = ", ".join(sorted(str(f.relative_to(folder)) for f in inside)[:8])
    hint = f"; name one of those inside, {versions}." if versions else "."
    raise ConfigError(f"{folder} holds no features.json, so it is no version of a TFDS set{hint}")
