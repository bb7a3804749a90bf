"""TFRecord files as their publishers write them, made by the tests that read them."""

import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slots.data.tfrecord import masked_crc


def frame(records: Sequence[bytes]) -> bytes:
    """The records with lengths and check sums."""
    parts = []
    for record in records:
        header = struct.pack("<Q", len(record))
        parts += [header, struct.pack("<I", masked_crc(header))]
        parts += [record, struct.pack("<I", masked_crc(record))]
    return b"".join(parts)


def write_records(path: Path, records: Sequence[bytes], compression: str = "none") -> Path:
    pack = {"none": bytes, "gzip": gzip.compress, "zlib": zlib.compress}[compression]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(frame(records)))
    return path


def example(features: Mapping[str, Any]) -> bytes:
    """A serialized `tf.train.Example`: lists of bytes as they are, arrays by their dtype.

    uint8 arrays become one-byte values, one for each element.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    made = tf_example_pb2.Example()
    for name, value in features.items():
        feature = made.features.feature[name]
        if isinstance(value, list):
            feature.bytes_list.value.extend(value)
            continue
        value = np.asarray(value)
        if value.dtype == np.uint8:
            feature.bytes_list.value.extend(bytes([byte]) for byte in value.ravel().tolist())
        elif np.issubdtype(value.dtype, np.floating):
            feature.float_list.value.extend(value.ravel().tolist())
        else:
            feature.int64_list.value.extend(value.ravel().tolist())
    return bytes(made.SerializeToString())
