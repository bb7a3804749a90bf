"""Masks in `.npz` files: saved once and scored again without a model, whoever made them.

| array | shape, dtype | |
|---|---|---|
| `masks` | [n,K,h,w] or [n,T,K,h,w], floats | soft masks, a decoder's |
| `attention` | likewise | the slot module's |
| `labels` | [n,H,W] or [n,T,H,W], integers | hard masks, in place of soft ones |
| `segmentation` | [n,H,W] or [n,T,H,W], integers | the truth; 0 = background |
| `ignore`, `semantic` | as `segmentation` | see `slots.types.Batch` |
| `image` | [n,H,W,C], uint8 or floats in [0, 1] | for references |
| `index` | [n], integers | numbers of the examples; their order where there are none |
| `about` | text | JSON that says where the masks come from |
"""

import dataclasses
import json
import math
import os
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slots import metrics
from slots.config import ConfigError, nearest
from slots.evaluation.accumulate import Accumulator
from slots.evaluation.evaluation import Evaluation, conclude
from slots.evaluation.protocols import Protocol
from slots.evaluation.scoring import (
    ATTENTION,
    Sizes,
    label_scores,
    mask_scores,
    segment_counts,
    truth,
)
from slots.metrics.table import MAX_CELLS
from slots.types import Batch

TRUTH = ("segmentation", "ignore", "semantic")
"""Fields of `slots.types.Batch` that masks are scored by."""
_SCENE = (*TRUTH, "image")
_KINDS = {
    "masks": "f",
    "attention": "f",
    "labels": "iu",
    "segmentation": "iu",
    "ignore": "b",
    "semantic": "iu",
    "image": "uf",
    "index": "iu",
    "about": "U",
}
"""Kinds of dtypes, in numpy's letters."""
LARGEST = min(2**34, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
"""Bytes that the arrays of a file may take: a few that are packed can be very many."""

_DAMAGE = (
    ValueError,
    EOFError,
    RuntimeError,
    SyntaxError,  # numpy's headers are Python's literals
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What a file that is no sound archive of arrays provokes."""


@dataclasses.dataclass(frozen=True)
class MaskFile:
    """Checked arrays of a mask file."""

    path: Path
    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["segmentation"])

    @property
    def count(self) -> int:
        """Number of slots; the most there are in any kind of masks."""
        a = self.arrays
        soft = [a[name].shape[-3] for name in ("masks", "attention") if name in a]
        return max([*soft, *([int(a["labels"].max(initial=0)) + 1] if "labels" in a else [])])

    @property
    def sizes(self) -> Sizes:
        """The largest label and class of the truth."""
        largest = [
            int(self.arrays[name].max(initial=0)) if name in self.arrays else 0
            for name in ("segmentation", "semantic")
        ]
        return Sizes(*largest)

    def batches(self, size: int) -> Iterator[tuple[dict[str, np.ndarray], Batch]]:
        """Masks by their array's name, and the truth."""
        index = self.arrays.get("index", np.arange(len(self)))
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            fields: dict[str, Any] = {
                name: x[part] for name, x in self.arrays.items() if name in _SCENE
            }
            for name in ("segmentation", "semantic"):
                if name in fields:
                    fields[name] = fields[name].astype(np.int32)
            found = {n: x[part] for n, x in self.arrays.items() if n in _PREDICTED}
            fields["index"] = index[part].astype(np.int32)
            yield found, Batch(**jax.device_put(fields))


_PREDICTED = ("masks", "attention", "labels")


def read_masks(path: Path, truth_path: Path | None = None) -> MaskFile:
    """A mask file, and the truth of another one where it has none.

    Nothing in the files is executed. Of two files with numbers, the truth is looked up by them.

    Raises:
        ConfigError: one cannot be read, or its arrays do not fit together; one sentence.
    """
    arrays = _load(path)
    if truth_path is not None:
        arrays |= _looked_up(_load(truth_path), truth_path, arrays, path)
    if not set(_PREDICTED) & set(arrays):
        raise ConfigError(f"{path} has none of the arrays {', '.join(_PREDICTED)}.")
    if "segmentation" not in arrays:
        raise ConfigError(f"{path} has no array segmentation; say truth=FILE for one that has.")
    true = arrays["segmentation"]
    if true.ndim not in (3, 4) or not true.size:
        raise ConfigError(
            f"segmentation in {path} should be [n,H,W] or [n,T,H,W], is {true.shape}."
        )
    for name, array in arrays.items():
        _check(name, array, true, path)
    file = MaskFile(path, arrays)
    largest = max(
        int(arrays[n].max(initial=0)) for n in ("segmentation", "semantic") if n in arrays
    )
    if (largest + 1) * file.count > MAX_CELLS:
        raise ConfigError(
            f"{path} has labels up to {largest} for {file.count} slots, too many to be counted in "
            "a table; renumber them with slots.metrics.compact_labels."
        )
    return file


def write_masks(
    path: Path, batches: Iterable[Mapping[str, np.ndarray]], count: int, about: Mapping[str, Any]
) -> None:
    """Writes a mask file, whole or not at all, holding one batch in memory at a time.

    Args:
        path: ends in `.npz`.
        batches: arrays by the names of the table above, with `index`.
        count: of examples, in all batches.
        about: for `about`.

    Raises:
        ConfigError: `path` has another ending.
    """
    if path.suffix != ".npz":
        raise ConfigError(f"masks={path} should end in .npz.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".masks-") as folder:
        arrays: dict[str, Any] = {}
        row = 0
        for batch in batches:
            for name, values in batch.items():
                if name not in arrays:
                    arrays[name] = np.lib.format.open_memmap(
                        os.path.join(folder, f"{name}.npy"),
                        "w+",
                        values.dtype,
                        (count, *values.shape[1:]),
                    )
                arrays[name][row : row + len(values)] = values
            row += len(next(iter(batch.values())))
        whole = Path(folder) / "whole.npz"
        np.savez_compressed(whole, about=np.array(json.dumps(dict(about))), **arrays)
        whole.replace(path)


def score_masks(file: MaskFile, protocol: Protocol, batch_size: int = 64) -> Evaluation:
    """Scores the masks of a file under a protocol.

    Raises:
        ConfigError: hard masks have another size than the truth and the protocol does not resize
            those, or it asks for attention that the file has not.
    """
    if protocol.masks == "attention" and "attention" not in file.arrays:
        raise ConfigError(f"Protocol {protocol.id} scores attention, which {file.path} has not.")
    sizes = file.sizes

    @jax.jit
    def soft(masks: dict[str, Any], batch: Batch) -> Any:
        return mask_scores(masks, batch, sizes, protocol)

    @jax.jit
    def hard(labels: Any, batch: Batch) -> Any:
        values = label_scores(labels, file.count, batch, sizes, protocol)
        return values, segment_counts(batch, sizes, protocol)

    found = Accumulator()
    for predicted, batch in file.batches(batch_size):
        batch = truth(dataclasses.replace(batch, image=None), protocol)
        if "labels" in predicted:
            values, rows = hard(_at_size(predicted["labels"], batch, protocol, file.path), batch)
        else:
            endings = {"masks": "", "attention": ATTENTION}
            values, rows = soft({endings[n]: x for n, x in predicted.items()}, batch)
        assert batch.index is not None
        found.add(np.asarray(batch.index), *jax.device_get((values, rows)))
    return conclude(found, protocol)


def _at_size(labels: np.ndarray, batch: Batch, protocol: Protocol, path: Path) -> Any:
    assert batch.segmentation is not None
    size = batch.segmentation.shape[-2:]
    if labels.shape[-2:] == size:
        return jnp.asarray(labels, jnp.int32)
    if protocol.resize != "nearest":
        raise ConfigError(
            f"labels in {path} are {labels.shape[-2:]}, the truth {size}; hard masks are resized "
            "by resize=nearest only."
        )
    return metrics.resize_labels(jnp.asarray(labels, jnp.int32), (size[0], size[1]))


def _load(path: Path) -> dict[str, np.ndarray]:
    """Arrays whose names, dtypes and sizes are known before they are read."""
    arrays, total = {}, 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name not in _KINDS:
                    hint = nearest(name, _KINDS) or f"; there are {', '.join(_KINDS)}."
                    raise ConfigError(f"{path} has an array {name!r}, which no mask file has{hint}")
                total += member.file_size
                if total > LARGEST:
                    raise ConfigError(f"{path} unpacks to {total:,} bytes or more, too many.")
                with archive.open(member) as stream:
                    arrays[name] = _read_array(stream, name, member.file_size, path)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}).") from error
    except _DAMAGE as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it ends too early"
        raise ConfigError(f"{path} is no sound .npz file ({reason}).") from error
    return arrays


def _read_array(stream: Any, name: str, size: int, path: Path) -> np.ndarray:
    """An array in numpy's format, whose header is not believed about its size."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
    if version not in read:
        raise ValueError(f"{name} has numpy format {version}")
    shape, fortran, dtype = getattr(np.lib.format, read[version])(stream)
    if dtype.kind not in _KINDS[name] or dtype.hasobject:
        raise ConfigError(f"{name} in {path} has numbers of type {dtype}, which it should not.")
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise ValueError(f"{name} ends before its last number")
    array = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
    return array.reshape(shape, order="F" if fortran else "C")


def _looked_up(
    there: dict[str, np.ndarray], there_path: Path, here: dict[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """The truth for the masks' examples."""
    fields = {name: x for name, x in there.items() if name in _SCENE}
    if "index" not in there or "index" not in here:
        return fields
    place = {number: row for row, number in enumerate(there["index"].tolist())}
    missing = [n for n in here["index"].tolist() if n not in place]
    if missing:
        raise ConfigError(f"{there_path} has no example {missing[0]}, which {path} has masks of.")
    rows = [place[n] for n in here["index"].tolist()]
    return {name: x[rows] for name, x in fields.items()}


def _check(name: str, array: np.ndarray, true: np.ndarray, path: Path) -> None:
    if name == "about":
        return
    if array.shape[:1] != true.shape[:1]:
        raise ConfigError(
            f"{name} in {path} has {array.shape[0] if array.ndim else 'no'} examples, "
            f"segmentation {len(true)}."
        )
    clip = true.shape[1 : true.ndim - 2]
    axes = {"masks": 3, "attention": 3, "image": 3, "index": 0}.get(name, 2)
    wanted = 1 if name in ("index", "image") else 1 + len(clip)
    if array.ndim != wanted + axes or (wanted > 1 and array.shape[1] != clip[0]):
        raise ConfigError(f"{name} in {path} is {array.shape}, segmentation {true.shape}.")
    if name in ("ignore", "semantic") and array.shape != true.shape:
        raise ConfigError(f"{name} in {path} is {array.shape}, segmentation {true.shape}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ConfigError(f"{name} in {path} has values that are not finite.")
    if array.dtype.kind == "i" and array.min(initial=0) < 0:
        raise ConfigError(
            f"{name} in {path} has numbers below 0; pixels to leave out go to ignore."
        )
    if name == "index" and len(np.unique(array)) < len(array):
        raise ConfigError(f"index in {path} has a number twice.")
