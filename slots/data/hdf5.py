"""HDF5 files with an example per row."""

import contextlib
import dataclasses
import functools
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slots.config import ConfigError, nearest
from slots.data.pictures import BadFile
from slots.data.records import located
from slots.data.stored import Example, Source, StoredConfig

KINDS: Mapping[str, type] = {"b": np.bool_, "i": np.int32, "u": np.int32, "f": np.float32}
"""What numbers become, by numpy's letter for their kind."""
_SPREAD = 64
_LOCK = threading.Lock()  # the HDF5 library does one thing at a time anyway


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hdf5Config(StoredConfig):
    """HDF5 files with one example per row, such as sets that other projects converted.

    Where `path` is a folder, the name `train` is the file `train.h5` or `train.hdf5` in it; where
    it is a file, a group of the file, and the name `all` the file without a group.
    """

    image: str = "image"
    """Dataset uint8 [n, h, w] or [n, h, w, c], with 1 or 3 channels."""
    segmentation: str = ""
    """Dataset of labels [n, h, w] or [n, h, w, 1], 0 = background; empty where there is none."""
    properties: tuple[str, ...] = ()
    """Datasets [n, m, ...] as `name=dataset`, whose row i belongs to label i + 1; on the command
    line `data.properties=[color=factors/color]`."""

    def __post_init__(self) -> None:
        """See `StoredConfig`; refuses a property without a name, and mirroring with properties."""
        super().__post_init__()
        for text in self.properties:
            name, _, dataset = text.partition("=")
            if not name.isidentifier() or not dataset:
                raise ConfigError(f"data.properties: {text!r} should be as color=factors/color.")
        if self.flip and self.properties:
            raise ConfigError("data.flip mirrors pictures, but not where properties place objects.")

    def open(self, name: str) -> "ArraySource":
        """The file or group called `name`; see `StoredConfig.open`."""
        path, group = located(self.path), "" if name == "all" else name
        if path.is_dir():
            files = {f.stem: f for f in path.iterdir() if f.suffix in (".h5", ".hdf5")}
            if name not in files:
                raise ConfigError(f"{path} has no file {name}.h5{nearest(name, files) or '.'}")
            path, group = files[name], ""
        pairs = [text.split("=", 1) for text in self.properties]
        return ArraySource(
            path,
            Rows(path, f"{group}/{self.image}"),
            Rows(path, f"{group}/{self.segmentation}") if self.segmentation else None,
            {key: Rows(path, f"{group}/{dataset}") for key, dataset in pairs},
        )


class Rows:
    """The rows of an HDF5 dataset, for several threads.

    Where chunks hold parts of many rows, as h5py cuts them if nobody says how, one picture of 64x64
    pixels takes 30 ms, for some thousand others are unpacked with it; where a chunk is a picture,
    0.03 ms. Such a dataset is read into memory when its first row is asked for (3D Shapes would
    take 5.9 GB [unverified: how it is cut]). `h5repack -l images:CHUNK=1x64x64x3` cuts it anew.

    Raises:
        ConfigError: h5py is not installed.
        BadFile: the file is damaged, no HDF5 file, or without such a dataset.
    """

    def __init__(self, path: Path, name: str):
        try:
            import h5py
        except ImportError as error:
            raise ConfigError(f"{path} needs h5py: pip install 'slots[hdf5]'.") from error
        self._path, name = path, name.strip("/")
        with _LOCK, reading(path):
            file = h5py.File(path)
            if not isinstance(file.get(name), h5py.Dataset):
                known = ", ".join(sorted(file)[:9]) or "nothing"
                raise BadFile(path, f"has no dataset {name!r}; at the top it holds {known}")
            self._data: Any = file[name]
        self.shape: tuple[int, ...] = self._data.shape
        self.dtype: np.dtype = self._data.dtype
        self._spread = _is_spread(self.shape, self._data.chunks)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        """One row; raises BadFile where it cannot be unpacked."""
        with _LOCK, reading(self._path):
            if self._spread:
                self._data, self._spread = self._data[:], False
            return np.asarray(self._data[index])

    def read(self) -> np.ndarray:
        """All rows; raises BadFile where they cannot be unpacked."""
        with _LOCK, reading(self._path):
            return np.asarray(self._data[:])


class ArraySource(Source):
    """Pictures, labels and properties, each with one row per example.

    Args:
        path: the file they are from.
        image: uint8 [n, h, w] or [n, h, w, c], with 1 or 3 channels.
        segmentation: whole numbers [n, h, w] or [n, h, w, 1]; None: no labels.
        properties: numbers [n, m, ...] by name.
        alone: whether there is one object in every example.

    Raises:
        BadFile: one of them is anything else.
    """

    def __init__(
        self,
        path: Path,
        image: Rows | np.ndarray,
        segmentation: Rows | np.ndarray | None,
        properties: Mapping[str, Rows | np.ndarray],
        alone: bool = False,
    ):
        self.where = path
        self._image, self._segmentation, self._properties = image, segmentation, properties
        self._visibility = np.ones(1, bool) if alone else None
        rows, rank = image.shape[:1], len(image.shape)
        if image.dtype != np.uint8 or rank < 3 or image.shape[3:] not in ((), (1,), (3,)):
            raise odd(path, "pictures", image, "uint8 [n, h, w] or [n, h, w, 3]")
        if segmentation is not None and not _are_labels(segmentation, rows):
            raise odd(path, "labels", segmentation, f"whole numbers [{rows[0]}, h, w]")
        for name, values in properties.items():
            fits = len(values.shape) > 1 and values.shape[:1] == rows
            if not fits or values.dtype.kind not in KINDS:
                raise odd(path, f"the property {name!r}", values, f"numbers [{rows[0]}, m]")

    def __len__(self) -> int:
        return len(self._image)

    @functools.cached_property
    def max_objects(self) -> int:  # type: ignore[override]
        """What the properties have room for; without any the largest label, which reads all."""
        if self._properties:
            return max(values.shape[1] for values in self._properties.values())
        if self._segmentation is None:
            return 0
        return max((int(self._segmentation[n].max()) for n in range(len(self))), default=0)

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        image, labels = self._image[index], None
        if self._segmentation is not None:
            labels = self._segmentation[index]
            labels = labels.reshape(labels.shape[:2]).astype(np.int32)
        return Example(
            image=image.reshape(*image.shape[:2], -1),
            segmentation=labels,
            properties={
                name: values[index].astype(KINDS[values.dtype.kind])
                for name, values in self._properties.items()
            },
            visibility=self._visibility,
        )


def _are_labels(array: Rows | np.ndarray, rows: tuple[int, ...]) -> bool:
    whole = array.dtype.kind in "biu" and array.shape[:1] == rows
    return whole and len(array.shape) > 2 and array.shape[3:] in ((), (1,))


def _is_spread(shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> bool:
    """Whether many times what a row holds is unpacked to read it."""
    if chunks is None:
        return False
    sides = zip(shape[1:], chunks[1:], strict=True)
    unpacked = chunks[0] * math.prod(-(-side // chunk) * chunk for side, chunk in sides)
    return unpacked > _SPREAD * math.prod(shape[1:])


def odd(path: Path, what: str, array: Rows | np.ndarray, wanted: str) -> BadFile:
    """The complaint about an array of another kind than `wanted`."""
    return BadFile(path, f"holds {what} as {array.dtype} {list(array.shape)}, not as {wanted}")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes a `BadFile`."""
    try:
        yield
    except BadFile:
        raise
    except Exception as error:
        # Damage shows as OSError, KeyError, ValueError, RuntimeError, BadZipFile, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BadFile(path, f"cannot be read ({reason})") from error
