"""The features of a set that TensorFlow Datasets prepared: their description, and a record's."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slots.config import ConfigError, nearest
from slots.data.pictures import BadFile
from slots.data.tfds_records import load_json

_CORE = "tensorflow_datasets.core.features."
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


def loadable(features: dict[str, Any]) -> dict[str, Any]:
    """A parsed `features.json` with each Video as the Sequence of Images that it is stored as.

    Without TensorFlow a Video cannot even be described; the records are the same either way. Both
    forms that TFDS has written are understood: `pythonClassName` and a field for the content, and
    before 4.5 `type` and `content`.
    """
    content = features.get("content")
    if isinstance(content, str) and "proto_cls" in features:
        features = {**features, "content": json.loads(content)}
    if f"{_CORE}video_feature.Video" in (features.get(key) for key in _CLASS_KEYS):
        return _as_sequence(features)
    return {k: loadable(v) if isinstance(v, dict) else v for k, v in features.items()}


def _as_sequence(video: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = video["video"] if "video" in video else video["content"]
    shape = content.get("shape") or [None, None, None, 3]
    shape = shape["dimensions"] if isinstance(shape, dict) else shape
    length, *picture = ["-1" if size is None else str(size) for size in shape]
    image = {
        "shape": {"dimensions": picture},
        "dtype": content.get("dtype", "uint8"),
        "encodingFormat": content.get("encodingFormat", content.get("encoding_format", "")),
    }
    inner = {"pythonClassName": f"{_CORE}image_feature.Image", "image": image}
    return {
        "pythonClassName": f"{_CORE}sequence_feature.Sequence",
        "sequence": {"feature": inner, "length": length},
    }


class Features:
    """What a folder's `features.json` describes, by paths such as `objects/color`.

    Raises:
        BadFile: there is none, or it is not what TFDS writes.
    """

    kinds: dict[str, Any]
    """The connector of each feature, without the sequences around it."""
    specs: dict[str, Any]
    """Shape and dtype as stored; sequences are leading axes, None where lengths differ."""

    def __init__(self, folder: Path):
        import tensorflow_datasets as tfds

        path = folder / "features.json"
        described = load_json(path)
        try:
            described = loadable(described)
            if stranger := next(_strangers(described), None):
                raise ValueError(f"{stranger} is not TFDS's own")
            features = tfds.features.FeatureConnector.from_json(described)
            features.load_metadata(str(folder), feature_name=None)  # the names of classes
            self.specs = tfds.core.utils.flatten_nest_dict(features.get_serialized_info())
            kinds = dict(_leaves(features))
        except Exception as error:  # each connector complains in its own way
            raise BadFile(path, f"describes no features of TFDS ({_short(error)})") from error
        self.kinds = {name: kinds[name] for name in sorted(kinds) if name in self.specs}
        self._folder = folder

    def find(self, setting: str, path: str) -> tuple[Any, Any]:
        """Connector and spec of the feature that `data.<setting>` names.

        Raises:
            ConfigError: there is none.
        """
        if path not in self.kinds:
            hint = nearest(path, self.kinds) or f"; it has {', '.join(self.kinds)}."
            raise ConfigError(f"data.{setting}: {self._folder} has no feature {path!r}{hint}")
        return self.kinds[path], self.specs[path]

    def picture(self, setting: str, path: str) -> Any:
        """The spec of a picture, or of a sequence of them.

        Raises:
            ConfigError: `data.<setting>` names something else.
        """
        import tensorflow_datasets as tfds

        kind, spec = self.find(setting, path)
        if not isinstance(kind, tfds.features.Image) or len(spec.shape) > 1:
            raise ConfigError(f"data.{setting}={path} is no picture and no sequence of pictures.")
        return spec

    def rows(self, setting: str, path: str, ragged: bool = False) -> None:
        """Checks that a feature is numbers with a row for each object.

        Args:
            setting: who asks.
            path: the feature.
            ragged: rows may differ in length.

        Raises:
            ConfigError: it is something else.
        """
        _, spec = self.find(setting, path)
        numbers = np.dtype(spec.np_dtype).kind in "biuf" and spec.shape
        if not numbers or (None in spec.shape[1:] and not ragged):
            raise ConfigError(f"data.{setting}={path} is not numbers with a row for each object.")

    def boxes(self, setting: str, path: str, ragged: bool) -> None:
        """Checks that a feature is a box for each object, as fractions of the picture.

        Raises:
            ConfigError: it is something else.
        """
        self.rows(setting, path, ragged)
        kind, spec = self.find(setting, path)
        form = getattr(kind, "bbox_format", None)
        if spec.shape[-1] != 4 or getattr(form, "value", "REL_YXYX") != "REL_YXYX":
            raise ConfigError(f"data.{setting}={path} is not (top, left, bottom, right) in [0, 1].")

    def names(self, setting: str, path: str, of_pixels: bool) -> tuple[str, ...]:
        """The names of classes from 0 on.

        Args:
            setting: who asks.
            path: the feature.
            of_pixels: classes of a map's pixels, not of the whole scene.

        Raises:
            ConfigError: it is something else.
        """
        import tensorflow_datasets as tfds

        kind, spec = self.find(setting, path)
        wanted = tfds.features.LabeledImage if of_pixels else tfds.features.ClassLabel
        if not isinstance(kind, wanted) or not kind.num_classes or (spec.shape and not of_pixels):
            whose = "of pixels" if of_pixels else "of the scene"
            raise ConfigError(f"data.{setting}={path} says no classes {whose}.")
        return tuple(kind.names)

    def is_class(self, path: str) -> bool:
        """Whether a feature's numbers are classes."""
        return hasattr(self.kinds[path], "num_classes")

    def read(self, record: bytes, paths: Collection[str], file: Path) -> dict[str, Any]:
        """The stored values of some features; pictures stay the bytes of their files.

        Args:
            record: a serialized `tf.train.Example`.
            paths: which features.
            file: what errors name.

        Returns:
            arrays of the specs' shapes, scalars, and lists of rows where sequences are ragged.

        Raises:
            BadFile: the record is damaged, or not as described.
        """
        from tensorflow_datasets.core.example_parser import ExampleParserNp

        parser = ExampleParserNp({path: self.specs[path] for path in paths})
        try:
            found = dict(parser.parse_example(_only(record, paths)))
        except Exception as error:  # IndexError, ValueError, DecodeError, ... by the kind of damage
            raise BadFile(file, f"has a record unlike features.json ({_short(error)})") from error
        for path, value in found.items():
            if value is None:
                raise BadFile(file, f"has a record without the feature {path!r}")
        return found


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def _strangers(described: Any, key: str = "") -> Iterator[str]:
    """Classes that are not TFDS's own: it imports whatever module a feature's class names."""
    if isinstance(described, dict):
        for name, value in described.items():
            yield from _strangers(value, name)
    elif isinstance(described, str) and key in _CLASS_KEYS:
        if not described.startswith(_CORE):
            yield described
    elif isinstance(described, str) and key in ("content", "json"):
        yield from _strangers(json.loads(described))


def _leaves(feature: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Sequence):
        yield from _leaves(feature.feature, path)
    elif isinstance(feature, tfds.features.FeaturesDict):
        for name, inner in feature.items():
            yield from _leaves(inner, f"{path}/{name}" if path else name)
    else:
        yield path, feature


def _only(record: bytes, paths: Collection[str]) -> bytes:
    """The record with these features alone; the others are skipped, not parsed.

    Nearly all of a MOVi record is optical flow, 20 MB at 256×256, which takes 44 ms to parse; one
    frame's picture and mask take 3.
    """
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    kept = []
    for _, features in _fields(memoryview(record)):
        for whole, entry in _fields(features):
            key = bytes(next(_fields(entry))[1]).decode()
            if key.split("/ragged_")[0] in paths:
                kept.append(whole)
    chosen = tf_feature_pb2.Features.FromString(b"".join(kept))
    return bytes(tf_example_pb2.Example(features=chosen).SerializeToString())


def _fields(message: memoryview) -> Iterator[tuple[memoryview, memoryview]]:
    """Each field whole, and its content, of a protocol buffer whose fields all have a length."""
    at = 0
    while at < len(message):
        tag, start = _varint(message, at)
        length, start = _varint(message, start)
        end = start + length
        if tag & 7 != 2 or end > len(message):
            raise ValueError("it is no tf.train.Example")
        yield message[at:end], message[start:end]
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits to a byte, lowest first, and where it ends."""
    value = 0
    for place in range(10):
        byte = message[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("it is no tf.train.Example")
