"""TFRecord files without TensorFlow: framing, random access where nothing is compressed, examples.

A record is its length (little-endian uint64), a check sum of the length, the bytes and a check sum
of those; sums are CRC-32C, rotated right by 15 bits and increased by a constant (TensorFlow's
`tf.io.TFRecordWriter` documentation).
"""

import functools
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slots.data.pictures import BadFile

Compression = Literal["none", "gzip", "zlib"]
Feature = list[bytes] | np.ndarray
"""Bytes, or float32 or int64 [n]."""

_HEADER = struct.Struct("<QI")
_CHUNK = 2**20
_LONGEST = 2**31


def compression_of(path: Path) -> Compression:
    """By the file's first bytes.

    Raises:
        BadFile: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from error
    if start == b"\x1f\x8b":
        return "gzip"
    # A zlib stream's first two bytes are a multiple of 31; a record's, its length, seldom are, and
    # then the check sum of the length tells.
    if len(start) == 2 and start[0] == 0x78 and int.from_bytes(start, "big") % 31 == 0:
        return "none" if _is_plain(path) else "zlib"
    return "none"


def iterate(path: Path) -> Iterator[bytes]:
    """The records in order, whatever the compression of the file as a whole.

    Raises:
        BadFile: the file is damaged or ends in the middle of a record; raised when that is reached.
    """
    buffer = _Buffer(_inflated(_chunks(path), compression_of(path)))
    number = 0
    try:
        while header := buffer.take(_HEADER.size):
            record = buffer.take(_length(header) + 4)
            if len(record) < _length(header) + 4:
                raise EOFError
            yield record[:-4]
            number += 1
    except (EOFError, struct.error) as error:
        raise BadFile(path, f"ends in the middle of record {number}") from error
    except (ValueError, zlib.error) as error:
        raise BadFile(path, f"is damaged at record {number} ({error})") from error


class RecordFiles(Sequence[bytes]):
    """Records of uncompressed files by number, over all files; several threads may read.

    Opening reads every record's header, no more.

    Raises:
        BadFile: a file is compressed as a whole, damaged or cut off.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths = tuple(paths)
        self._starts: list[tuple[int, int, int]] = []
        for number, path in enumerate(self.paths):
            if compression_of(path) != "none":
                raise BadFile(path, "is compressed as a whole, so that records can't be picked")
            self._starts += [(number, *place) for place in _places(path)]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        """The record's bytes.

        Raises:
            BadFile: the file was changed meanwhile.
        """
        number, start, length = self._starts[index]
        with self.paths[number].open("rb") as file:
            record = os.pread(file.fileno(), length, start)
        if len(record) < length:
            raise BadFile(self.paths[number], "became shorter while it was read")
        return record


def parse(record: bytes, path: Path, *, join: bool = False) -> dict[str, Feature]:
    """The features of a serialized `tf.train.Example`.

    Args:
        record: its bytes.
        path: the file that errors name.
        join: whether a list of bytes becomes one uint8 array, which it is where a publisher has
            stored an array as one byte an element.

    Raises:
        BadFile: the bytes are no example.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        example = tf_example_pb2.Example.FromString(record)
    except DecodeError as error:
        raise BadFile(path, "holds a record that is no tf.train.Example") from error
    found: dict[str, Feature] = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind == "float_list":
            found[name] = np.array(feature.float_list.value, np.float32)
        elif kind == "int64_list":
            found[name] = np.array(feature.int64_list.value, np.int64)
        elif join:
            found[name] = _joined(feature.bytes_list)
        else:
            found[name] = list(feature.bytes_list.value)
    return found


def _joined(values: Any) -> np.ndarray:
    """The bytes of a `BytesList` one after the other.

    Of one-byte values the list's own encoding has a tag, a length and the byte; to take it apart is
    three times as fast as a list of as many objects.
    """
    encoded = np.frombuffer(values.SerializeToString(), np.uint8)
    if len(encoded) == 3 * len(values.value) and (encoded[1::3] == 1).all():
        return encoded[2::3]
    return np.frombuffer(b"".join(values.value), np.uint8)


class _Buffer:
    """Takes pieces of any length out of a stream of chunks."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._held = bytearray()

    def take(self, count: int) -> bytes:
        """The next `count` bytes, or fewer at the end."""
        while len(self._held) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._held += chunk
        piece = bytes(self._held[:count])
        del self._held[:count]
        return piece


def _chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes; opened anew for each chunk, as who stops early would leave it open."""
    at = 0
    while True:
        with path.open("rb") as file:
            file.seek(at)
            chunk = file.read(_CHUNK)
        if not chunk:
            return
        yield chunk
        at += len(chunk)


def _inflated(chunks: Iterator[bytes], kind: Compression) -> Iterator[bytes]:
    """Decompressed chunks; several gzip members one after the other are one stream."""
    if kind == "none":
        yield from chunks
        return
    bits = 31 if kind == "gzip" else 15
    inflate = zlib.decompressobj(bits)
    for chunk in chunks:
        while chunk:
            if inflate.eof:
                inflate = zlib.decompressobj(bits)
            yield inflate.decompress(chunk, _CHUNK)  # so that no chunk takes all memory
            chunk = inflate.unconsumed_tail or inflate.unused_data
    if not inflate.eof:
        raise EOFError


def _length(header: bytes) -> int:
    length, check = _HEADER.unpack(header)
    if check != masked_crc(header[:8]):
        raise ValueError("it is no TFRecord, or its framing is lost")
    if length > _LONGEST:
        raise ValueError(f"it says that it has {length:,} bytes")
    return int(length)


def _places(path: Path) -> Iterator[tuple[int, int]]:
    """Start and length of every record's bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at < size:
            file.seek(at)
            header = file.read(_HEADER.size)
            try:
                length = _length(header)
            except (ValueError, struct.error) as error:
                raise BadFile(path, f"is damaged at byte {at} ({error})") from error
            start = at + _HEADER.size
            at = start + length + 4
            if at > size:
                raise BadFile(path, "ends in the middle of a record")
            yield start, length


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    try:
        return _length(header) >= 0
    except (ValueError, struct.error):
        return False


def masked_crc(data: bytes) -> int:
    """The check sum of a record's length or bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _crc_table()[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[int, ...]:
    """Of CRC-32C (Castagnoli), for a byte at a time."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)
