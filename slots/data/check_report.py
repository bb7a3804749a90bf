"""What a check finds in a published set, and what all checks have in common."""

import dataclasses
import functools
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from slots.config import ConfigError
from slots.data.base import DataConfig
from slots.data.catalog import Published
from slots.data.pictures import BadFile, Size
from slots.data.stored import StoredConfig

_P = ParamSpec("_P")
_T = TypeVar("_T")
LISTED = 3
_PROGRESS_SECONDS = 10.0
_log = logging.getLogger("slots")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of a report."""

    kind: Literal["ok", "problem", "note"]
    """`problem`: damage, or a part that is not whole. `note`: there is less than is published, or
    something was not looked at."""
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was found at a path; texts are empty where nobody knows."""

    path: Path
    name: str
    publisher: str = ""
    source: str = ""
    """Where the set is published."""
    licence: str = ""
    findings: tuple[Finding, ...] = ()
    words: str = ""
    """Settings that read it, as they are typed."""
    parts: tuple["Report", ...] = ()
    """One for each set, where there are several below `path`."""

    @property
    def sound(self) -> bool:
        """Whether nothing is a problem."""
        sound = all(finding.kind != "problem" for finding in self.findings)
        return sound and all(part.sound for part in self.parts)


def lines(report: Report) -> Iterator[str]:
    """A report as text: what it is, the findings, where it is from and how it is read."""
    yield f"{report.path}: {report.name}{report.publisher and f', {report.publisher}'}"
    for finding in report.findings:
        yield f"  {finding.kind:<8} {finding.text}"
    for part in report.parts:
        yield from lines(part)
    if report.source:
        yield f"  published at {report.source}; licence: {report.licence}"
    if report.words:
        yield f"  read with {report.words}"


def report_on(
    path: Path, about: Published, findings: Iterable[Finding], config: DataConfig
) -> Report:
    """The report on one set, with the settings that read it."""
    return Report(
        path=path,
        name=about.name,
        publisher=about.publisher,
        source=about.source,
        licence=about.licence,
        findings=tuple(dict.fromkeys(findings)),
        words=words_for(config),
    )


def words_for(config: DataConfig) -> str:
    """The settings that differ from the defaults, as they are typed."""
    default, words = type(config)(), [f"data={config.kind}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name):
            text = f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
            words.append(f"data.{field.name}={text}")
    return shlex.join(words)


def named_splits(config: type[StoredConfig], names: Collection[str]) -> dict[str, Any]:
    """Settings of splits whose usual one is not among `names`: one that begins alike, or none."""
    changed = {}
    for split in ("train", "val", "test"):
        usual = getattr(config(), split)
        if usual and usual not in names:
            changed[split] = next((name for name in sorted(names) if name.startswith(split)), "")
    return changed


def fitted(config: StoredConfig, count: int) -> StoredConfig:
    """A tenth and the rest as splits where there are too few examples for those it has."""
    ranges = list(config.ranges().values())
    if count < 2 or max(part.stop or part.start + 1 for _, part in ranges) <= count:
        return config
    name, tenth = ranges[0][0], max(1, count // 10)
    parts = {"train": f"{name}[{tenth}:{count}]", "val": f"{name}[:{tenth}]", "test": ""}
    return dataclasses.replace(config, **parts)  # type: ignore[arg-type]


def safely(find: Callable[_P, Iterator[Finding]]) -> Callable[_P, Iterator[Finding]]:
    """An error that ends the findings becomes the last of them."""

    @functools.wraps(find)
    def safe(*args: _P.args, **kwargs: _P.kwargs) -> Iterator[Finding]:
        try:
            yield from find(*args, **kwargs)
        except (ConfigError, OSError) as error:
            yield as_problem(error)

    return safe


def as_problem(error: Exception) -> Finding:
    """An error as a finding."""
    return Finding("problem", str(error).rstrip("."))


def count_of(what: str, found: int, published: int | None) -> Finding:
    """A number of examples beside the published one."""
    if not found or (published is not None and found > published):
        wanted = f", {published:,} are published" if published else ""
        return Finding("problem", f"{what}: {found:,}{wanted}")
    if published is None or found == published:
        return Finding("ok", f"{what}: {found:,}{', as published' if published else ''}")
    return Finding("note", f"{what}: {found:,} of {published:,}")


def all_there(names: Collection[str], folder: Path, listed_in: str) -> Finding:
    """Whether the folder has all files that are listed."""
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    if missing := sorted(set(names) - there):
        of = f"{len(missing):,} of {len(names):,} files that {listed_in} names"
        return Finding("problem", f"{folder} lacks {of}: {a_few(missing)}")
    return Finding("ok", f"{folder.name}: all {len(names):,} files that {listed_in} names")


def a_few(names: Sequence[str]) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def not_here(about: Published, here: Collection[str]) -> Iterator[Finding]:
    """Splits and archives that are published and absent; nothing where all splits are others."""
    parts = {**dict.fromkeys(about.counts, ""), **about.archives}
    absent = [f"{p} ({file})" if file else p for p, file in parts.items() if p not in here]
    if absent and about.counts.keys() & set(here):
        yield Finding("note", f"not here: {', '.join(absent)}")


@safely
def stored_examples(
    config: StoredConfig, name: str, about: Published, what: str = ""
) -> Iterator[Finding]:
    """What its reader says of one stored name; a label map must be as large as its picture."""
    source = config.open(name)
    yield count_of(what or name, len(source), about.counts.get(name))

    def read(row: int) -> Size:
        example = source[row]
        size, labels = example.image.shape[:2], example.segmentation
        if labels is not None and labels.shape != size:
            sizes = f"{in_pixels(size)} pixels and a mask of {in_pixels(labels.shape)}"
            raise BadFile(source.where, f"has example {row} of {name} with {sizes}")
        return size

    yield from decode_some(what or name, len(source), read, about.picture)


def decode_some(
    what: str, count: int, read: Callable[[int], Size], size: Size | None
) -> Iterator[Finding]:
    """Reads the first, the middle and the last of `count` examples; `read` gives their size."""
    places = sorted({0, count // 2, count - 1}) if count else []
    sizes: list[Size] = []
    for place in places:
        try:
            sizes.append(read(place))
        except (ConfigError, OSError) as error:
            yield as_problem(error)
    seen = " and ".join(sorted({in_pixels(one) for one in sizes}))
    if size is not None and {*sizes} - {size}:
        yield Finding("problem", f"{what}: pictures of {seen} pixels, not of {in_pixels(size)}")
    elif sizes and len(sizes) == len(places):
        yield Finding("ok", f"{what}: {len(places)} of {count:,} decoded, {seen} pixels")


def in_pixels(size: Sequence[int]) -> str:
    """A size as it is said: width, height."""
    return f"{size[1]}x{size[0]}"


def timed(items: Iterable[_T], what: str, total: int) -> Iterator[_T]:
    """The items; says now and then how many there were."""
    reported = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - reported >= _PROGRESS_SECONDS:
            reported = time.monotonic()
            _log.info("Checked %s of %s %s.", f"{done:,}", f"{total:,}", what)


def length_of(config: StoredConfig, name: str) -> int:
    """Number of examples stored under a name; no end where it cannot be read."""
    try:
        return len(config.open(name))
    except ConfigError:
        return sys.maxsize  # its splits are not what is wrong
