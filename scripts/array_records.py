"""A folder of ArrayRecord shards in the layout of tensorflow-datasets, written to be interrupted.

A shard is written under another name, brought to the disk and renamed, so that whatever ends the
program leaves whole shards only. `checksums.json` says what they were made from, with the number
of records and the SHA-256 of every file; a second start goes on after the shards that it lists.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from slots.config import ConfigError
from slots.data.pictures import BadFile

NOTE, INFO = "checksums.json", "dataset_info.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
"""Of file names, in `dataset_info.json`."""
REPORT_SECONDS = 10.0

_PART = ".part"
_OF = re.compile(r"-of-\d{5}$")


class ShardFolder:
    """The folder and what is known to be whole in it.

    Until `finish`, shards are called `<set>-<split>.array_record-00000` and so on: how many there
    will be, which their last names say, may be known only at the end.

    Args:
        folder: made if absent.
        made_from: source and settings; a folder that was made from others is refused.

    Raises:
        ConfigError: the folder holds something else.
    """

    def __init__(self, folder: Path, made_from: dict[str, Any]):
        self.folder = folder
        self._made_from = made_from
        self.files: dict[str, dict[str, Any]] = {}
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file; name a folder to convert to.")
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / NOTE).exists():
            self._take_up()
        elif any(file.suffix != _PART for file in folder.iterdir()):
            raise ConfigError(f"{folder} holds files but no {NOTE}; name an empty folder.")
        else:
            self._note()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return INFO in self.files and all(map(self.has, self.files))

    def has(self, name: str) -> bool:
        """Whether this file is whole."""
        path, known = self._found(name), self.files.get(name)
        if path is None or known is None:
            return False
        return "records" not in known or _count(path) == known["records"]

    def size(self, name: str) -> int:
        """Bytes of a whole shard."""
        path = self._found(name)
        return path.stat().st_size if path else 0

    def write(self, name: str, records: Iterable[bytes]) -> None:
        """A shard, with every record in a group of its own for random access.

        Raises:
            BadFile: it cannot be written, for want of space or permission; nothing is left of it.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        part, count = self.folder / (name + _PART), 0
        try:
            writer = ArrayRecordWriter(str(part), "group_size:1")
            for record in records:
                writer.write(record)
                count += 1
            writer.close()
            _to_disk(part)
        except (RuntimeError, OSError) as error:  # ArrayRecord's are RuntimeErrors
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            reason = str(error).split(";")[0].rstrip(".")
            advice = "the shards before it are whole, and the same command goes on after them"
            raise BadFile(
                part.with_suffix(""), f"cannot be written ({reason}); {advice}"
            ) from error
        part.replace(self.folder / name)
        self.files.pop(INFO, None)  # until `finish`
        self._add(name, records=count)
        self._note()

    def read(self, name: str) -> Iterator[bytes]:
        """The records of a whole shard."""
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        yield from ArrayRecordDataSource(str(self._found(name)))

    def put(self, name: str, content: bytes) -> None:
        """Any other file."""
        _replace(self.folder / name, content)
        self._add(name)

    def finish(self, info: dict[str, Any], features: dict[str, Any]) -> None:
        """Gives shards their last names and writes what tensorflow-datasets reads about them.

        Args:
            info: content of `dataset_info.json`.
            features: content of `features.json`.
        """
        shards = sorted(name for name, known in self.files.items() if "records" in known)
        total = Counter(map(_stem, shards))
        last = {name: f"{name}-of-{total[_stem(name)]:05d}" for name in shards}
        for name in shards:
            if (path := self._found(name)) is not None:
                path.replace(self.folder / last[name])
        for name, content in (("features.json", features), (INFO, info)):
            self.put(name, _json(content))
        self._note(last)

    def _add(self, name: str, **known: Any) -> None:
        with (self.folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.files[name] = {**known, "sha256": digest}

    def _found(self, name: str) -> Path | None:
        """The file under this name or its last one."""
        plain = self.folder / name
        return plain if plain.exists() else next(self.folder.glob(f"{name}-of-*"), None)

    def _take_up(self) -> None:
        note = self.folder / NOTE
        try:
            known = json.loads(note.read_text())
            made_from = dict(known["made_from"])
            self.files = {_OF.sub("", name): dict(entry) for name, entry in known["files"].items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadFile(note, "is damaged; name an empty folder") from error
        if made_from != self._made_from:
            raise ConfigError(
                f"{self.folder} is made from {_say(made_from)}, not from {_say(self._made_from)}; "
                "name an empty folder."
            )

    def _note(self, names: dict[str, str] | None = None) -> None:
        files = {(names or {}).get(name, name): entry for name, entry in self.files.items()}
        _replace(self.folder / NOTE, _json({"made_from": self._made_from, "files": files}))


class Progress:
    """Prints how many records there were, how fast, and how long the rest will take."""

    def __init__(self, done: int, total: int):
        self._done, self._total, self._fresh = done, total, 0
        self._begin = self._reported = 0.0
        if done:
            print(f"{done:,} records are there already; skipping them.", flush=True)

    def of(self, records: Iterable[bytes]) -> Iterator[bytes]:
        """The records, counted as they are taken."""
        for record in records:
            yield record
            self._fresh += 1
            self._report()

    def _report(self) -> None:
        now = time.monotonic()
        if self._fresh == 1:  # what was skipped has no part in the rate
            self._begin = self._reported = now
        elif now - self._reported >= REPORT_SECONDS:
            self._reported = now
            rate = (self._fresh - 1) / (now - self._begin)
            done = self._done + self._fresh
            minutes = max(self._total - done, 0) / rate / 60
            print(f"{done:,} records, {rate:.0f} a second, {minutes:.0f} min left", flush=True)


def _count(path: Path) -> int:
    """Records of a shard; 0 of one that is cut off."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        reader = ArrayRecordReader(str(path))
        count = int(reader.num_records())
        reader.close()
    except RuntimeError:
        return 0
    return count


def _stem(shard: str) -> str:
    return shard.rpartition("-")[0]


def _say(made_from: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(made_from.items()))


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + _PART)
    part.write_bytes(content)
    _to_disk(part)
    part.replace(path)
