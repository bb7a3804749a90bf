"""What published data set is at a path, whether it is whole, and where to get what is missing.

Sets are recognised by their layout. Their own readers judge what they read; beside that, lists are
compared with folders, so that all that is missing is counted, not only the first file that a reader
would stop at.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from slots.data import catalog
from slots.data.catalog import Published
from slots.data.check_folders import (
    clevr,
    clevr_hans,
    clevrtex,
    coco,
    converted_folder,
    picture_folder,
    shapestacks,
    splits_of,
    voc,
)
from slots.data.check_records import factor_file, prepared, scene_file
from slots.data.check_report import Finding, Report, a_few
from slots.data.records import located

_DEPTH = 3
"""How far below PATH sets are looked for: `movi_a/128x128/1.0.0`."""


def check(path: Path, quick: bool = False) -> Report:
    """Recognises what is at `path`, or in folders below it, and verifies it.

    Counted are examples of each split, files that lists name, and masks of pictures; the first, the
    middle and the last example of each split are decoded.

    Args:
        path: a file or folder.
        quick: leave out what takes long in a large set: reading compressed records to their end,
            check sums of whole files, and headers of all pictures in a plain folder.

    Raises:
        ConfigError: nothing has this name; the nearest one is named.
    """
    root = located(str(path))
    found = _search(root, quick, _DEPTH)
    if not found and (splits := splits_of(root)):
        found = [picture_folder(root, splits, Published(name="pictures in a folder"), quick)]
    if len(found) == 1:
        return found[0]
    findings = []
    if folders := _plain_below(root, found):
        text = f"pictures in {a_few(folders)}: give data=folder one of these"
        findings.append(Finding("note", text))
    if found:
        name, parts = f"{len(found)} sets", tuple(found)
        return Report(path=root, name=name, findings=tuple(findings), parts=parts)
    text = (
        f"looked for {', '.join(catalog.FAMILIES)}; pictures of your own are read by data=folder, "
        "right in the folder or in images/, train/images/ and val/images/, masks in masks/ beside"
    )
    findings.insert(0, Finding("problem", text))
    return Report(path=root, name="no set that is known", findings=tuple(findings))


def _search(path: Path, quick: bool, depth: int) -> list[Report]:
    """The known set at the path or else those below, where one may look."""
    if not os.access(path, os.R_OK):
        return []
    for layout in _LAYOUTS:
        if report := layout(path, quick):
            return [report]
    if not depth or not path.is_dir():
        return []
    with os.scandir(path) as entries:
        inside = [e.name for e in entries if e.is_dir() or e.name.endswith(_FILES)]
    shown = sorted(name for name in inside if not name.startswith("."))
    return [found for name in shown for found in _search(path / name, quick, depth - 1)]


def _plain_below(root: Path, found: Iterable[Report]) -> list[str]:
    """Folders right in `root` that hold pictures and no known set."""
    known = [report.path for report in found]
    return [
        folder.name
        for folder in sorted(root.glob("*/"))
        if not any(path.is_relative_to(folder) for path in known) and splits_of(folder)
    ]


_LAYOUTS: tuple[Callable[[Path, bool], Report | None], ...] = (
    *(scene_file, factor_file, prepared),
    *(clevr, clevr_hans, clevrtex, shapestacks, coco, voc, converted_folder),
)
_FILES = (".tfrecords", ".h5", ".hdf5", ".npz")
"""Endings of files that may be sets."""
