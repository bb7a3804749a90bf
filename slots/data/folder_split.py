"""The pictures and label maps of one split: kept in memory, or read when asked for."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from slots.data.folder_layout import Record
from slots.data.pictures import BadFile, Size, by_size, read_labels, read_picture
from slots.data.records import THREADS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reader:
    """How the files of a record become arrays of one size."""

    image_size: Size
    label_size: Size
    channels: int
    square: bool
    ignore_value: int | None
    max_objects: int | None
    min_object_pixels: int | None

    def image(self, record: Record) -> UInt8[np.ndarray, "h w c"]:
        """The record's picture.

        Raises:
            BadFile: see `read_picture`.
        """
        return read_picture(record.picture, self.image_size, self.channels, self.square)

    def labels(self, record: Record) -> Int32[np.ndarray, "hs ws"]:
        """The record's label map, ignored pixels still marked by their value.

        Raises:
            BadFile: see `read_labels`; or a label is larger than `max_objects`.
        """
        assert record.mask is not None
        labels = read_labels(record.mask, self.label_size, self.square)
        if self.min_object_pixels is not None:
            return by_size(labels, self.min_object_pixels, self.max_objects, self.ignore_value)
        if self.max_objects is not None and (largest := self.largest(labels)) > self.max_objects:
            limit = f"data.max_objects={self.max_objects}"
            raise BadFile(record.mask, f"has label {largest}, which is more than {limit}")
        return labels

    def largest(self, labels: Int32[np.ndarray, "hs ws"]) -> int:
        """The largest label that is not ignored."""
        return int(labels[labels != self.ignore_value].max(initial=0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Usable records of one split; the arrays are None where files are read when asked for."""

    reader: Reader
    records: Sequence[Record]
    labelled: bool
    images: UInt8[np.ndarray, "n h w c"] | None
    labels: np.ndarray | None
    """uint16 [n, hs, ws], ignored pixels still marked by their value."""
    max_label: int
    """Largest label read while opening; 0 if no mask was."""

    def gather(self, index: Int32[np.ndarray, "b"], max_objects: int) -> dict[str, np.ndarray]:
        """The fields of a `Batch` but `index` as fresh numpy arrays.

        Args:
            index: numbers of the records.
            max_objects: M, the width of `visibility`.

        Raises:
            BadFile: a file that is read now has become unreadable.
        """
        if self.images is not None:
            images = self.images[index]
        else:
            images = np.stack([self.reader.image(self.records[row]) for row in index])
        arrays = {"image": images}
        if not self.labelled:
            return arrays
        if self.labels is not None:
            labels = self.labels[index].astype(np.int32)
        else:
            labels = np.stack([self.reader.labels(self.records[row]) for row in index])
        if self.reader.ignore_value is not None:
            arrays["ignore"] = labels == self.reader.ignore_value
            labels[arrays["ignore"]] = 0
        visibility = _visible(labels, max_objects)
        objects = visibility.sum(axis=1, dtype=np.int32)
        return {**arrays, "segmentation": labels, "visibility": visibility, "num_objects": objects}


def _visible(labels: Int32[np.ndarray, "b hs ws"], max_objects: int) -> Bool[np.ndarray, "b m"]:
    """Which labels 1 to M each map holds."""
    counts = [np.bincount(label_map.ravel(), minlength=max_objects + 1) for label_map in labels]
    return np.stack(counts)[:, 1:] > 0


def open_split(
    records: Sequence[Record],
    reader: Reader,
    *,
    keep: bool,
    decode: bool,
    bad: dict[Record, BadFile],
) -> Split:
    """Reads what has to be known before the first batch, in threads.

    Args:
        records: the split's records, of which there is at least one.
        reader: how to read them.
        keep: decode everything and keep it.
        decode: decode every file, so that all bad ones are found. Otherwise only masks are read,
            and only if `reader.max_objects` does not say what is in them.
        bad: records known to be bad, which are left out; those found here are added.
    """
    labelled = records[0].labelled
    records = [record for record in records if record not in bad]
    images = labels = None
    if keep:
        images = np.empty((len(records), *reader.image_size, reader.channels), np.uint8)
    if keep and labelled:
        labels = np.empty((len(records), *reader.label_size), np.uint16)

    def visit(row: int) -> int:
        """The largest label in the record's mask."""
        largest = 0
        try:
            if decode:
                image = reader.image(records[row])
                if images is not None:
                    images[row] = image
            if labelled and (decode or reader.max_objects is None):
                label_map = reader.labels(records[row])
                largest = reader.largest(label_map)
                if labels is not None:
                    labels[row] = label_map
        except BadFile as problem:
            bad[records[row]] = problem
        return largest

    with ThreadPoolExecutor(THREADS) as pool:
        max_label = max(pool.map(visit, range(len(records))), default=0)
    good = np.array([record not in bad for record in records], bool)
    if not good.all():
        records = [record for record in records if record not in bad]
        images = None if images is None else images[good]
        labels = None if labels is None else labels[good]
    return Split(
        reader=reader,
        records=records,
        labelled=labelled,
        images=images,
        labels=labels,
        max_label=max_label,
    )
