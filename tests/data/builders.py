"""Folders as TensorFlow Datasets prepares them, made by the tests that read them."""

import copy
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .records import write_records

Examples = Sequence[Mapping[str, Any] | bytes]
"""Bytes are records already."""


def png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 or uint16 grey [h, w] or uint8 colour [h, w, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_builder(
    folder: Path,
    features: Any,
    splits: Mapping[str, Sequence[Examples]],
    file_format: str = "array_record",
) -> Path:
    """A prepared set: its name and version are the last parts of `folder`.

    Args:
        folder: `.../name/version` or `.../name/config/version`.
        features: a `FeaturesDict`.
        splits: the examples of every shard of every split; pictures as bytes.
        file_format: `array_record` or `tfrecord`.
    """
    import tensorflow_datasets as tfds

    name = folder.parent.name
    identity = tfds.core.DatasetIdentity(
        name=name, version=folder.name, data_dir=str(folder), module_name="nowhere"
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features, description="made by a test")
    info.set_file_format(tfds.core.FileFormat(file_format), override=True)
    template = tfds.core.ShardedFileTemplate
    info.set_splits(
        tfds.core.SplitDict(
            [
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[len(examples) for examples in shards],
                    num_bytes=0,
                    filename_template=template(
                        data_dir=folder, dataset_name=name, split=split, filetype_suffix=file_format
                    ),
                )
                for split, shards in splits.items()
            ]
        )
    )
    folder.mkdir(parents=True)
    info.write_to_directory(str(folder))
    write = {"array_record": _write_array_record, "tfrecord": write_records}[file_format]
    for split, shards in splits.items():
        for number, examples in enumerate(shards):
            file = f"{name}-{split}.{file_format}-{number:05}-of-{len(shards):05}"
            write(folder / file, [serialized(features, example) for example in examples])
    return folder


def serialized(features: Any, example: Mapping[str, Any] | bytes) -> bytes:
    """The record that TFDS makes; it cannot make ragged ones without TensorFlow."""
    if isinstance(example, bytes):
        return example
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    serializer = ExampleSerializer(features.get_serialized_info())
    return bytes(serializer.serialize_example(features.encode_example(example)))


def _write_array_record(path: Path, records: Sequence[bytes]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def with_videos(folder: Path, names: Sequence[str], legacy: bool = False) -> None:
    """Says in `features.json` that these top-level sequences of pictures are Videos.

    They are stored alike; to write a Video itself takes TensorFlow.
    """
    path = folder / "features.json"
    features = json.loads(path.read_text())
    inner = features["featuresDict"]["features"]
    for name in names:
        sequence = inner[name]["sequence"]
        image = sequence["feature"]["image"]
        shape = [sequence["length"], *image["shape"]["dimensions"]]
        kind = "tensorflow_datasets.core.features.video_feature.Video"
        video = {"shape": {"dimensions": shape}, "dtype": image["dtype"], "encodingFormat": "png"}
        inner[name] = {"pythonClassName": kind, "video": video}
    if legacy:
        features = _legacy(features)
    path.write_text(json.dumps(features))


def _legacy(feature: dict[str, Any]) -> dict[str, Any]:
    """The form of TFDS 4.4: a class, and its content as JSON text."""
    feature = copy.deepcopy(feature)
    kind = feature.pop("pythonClassName")
    (content,) = feature.values()
    messages = {"FeaturesDict": "FeaturesDict", "Video": "VideoFeature"}
    return {
        "type": kind,
        "content": json.dumps(content),
        "proto_cls": f"tensorflow_datasets.{messages[kind.rsplit('.', 1)[1]]}",
    }
