"""The records of a set that TensorFlow Datasets prepared, by number over a split's shards."""

import bisect
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from slots.config import ConfigError, nearest
from slots.data.pictures import BadFile
from slots.data.tfrecord import RecordFiles

_T = TypeVar("_T")


class Records(Sequence[bytes]):
    """The records of one split; several threads may read.

    Shards are `<name>-<split>.<format>-00000-of-00012`; `dataset_info.json` says how many there are
    and what each holds. TFDS's own builder does not open a folder with a Video without TensorFlow.

    Raises:
        ConfigError: there is no such split, or it is in a format that is not read.
        BadFile: a shard is missing, damaged, or holds another number of records than it should.
    """

    def __init__(self, folder: Path, split: str):
        path = folder / "dataset_info.json"
        info = load_json(path)
        try:
            name, kind = info["name"], info.get("fileFormat", "tfrecord")
            counts = {
                found["name"]: [int(count) for count in found.get("shardLengths", [])]
                for found in info["splits"]
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadFile(path, "does not describe splits as TFDS does") from error
        if split not in counts:
            raise ConfigError(
                f"{folder} has no split {split!r}; it has {', '.join(counts) or 'none'}"
                f"{nearest(split, counts) or '.'}"
            )
        if kind not in ("array_record", "tfrecord"):
            raise ConfigError(f"{folder} is stored as {kind}; array_record and tfrecord are read.")
        of = len(counts[split])
        self._files = [
            folder / f"{name}-{split}.{kind}-{number:05}-of-{of:05}" for number in range(of)
        ]
        self._shards = [
            _shard(file, kind, count)
            for file, count in zip(self._files, counts[split], strict=True)
        ]
        self._ends = list(itertools.accumulate(counts[split]))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        """The record's bytes.

        Raises:
            BadFile: it cannot be read.
        """
        shard = bisect.bisect_right(self._ends, index)
        return self._shards[shard][index - (self._ends[shard - 1] if shard else 0)]

    def file(self, index: int) -> Path:
        """The shard that holds a record."""
        return self._files[bisect.bisect_right(self._ends, index)]


def _shard(file: Path, kind: str, count: int) -> Sequence[bytes]:
    if not file.is_file():
        raise BadFile(file, "does not exist")
    records = _ArrayRecords(file) if kind == "array_record" else RecordFiles([file])
    if len(records) != count:
        said = f"dataset_info.json says {count:,}"
        raise BadFile(file, f"holds {len(records):,} records, but {said}")
    return records


class _ArrayRecords(Sequence[bytes]):
    """The records of an ArrayRecord file."""

    def __init__(self, file: Path):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self._file = file
        self._records = self._checked(lambda: ArrayRecordDataSource(str(file)))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        return self._checked(lambda: bytes(self._records[index]))

    def _checked(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except RuntimeError as error:  # all that Riegeli complains about
            reason = str(error).split(";")[0].strip().rstrip(".")
            raise BadFile(self._file, f"is damaged or cut off ({reason})") from error


def load_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises:
        BadFile: it is missing, or holds no JSON object.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadFile(path, "does not exist") from error
    except (OSError, RecursionError, ValueError) as error:
        raise BadFile(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadFile(path, "holds no JSON object")
    return found
