"""Runs whose disk is full, or whose files may not grow."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.campaign.compare import last_step, restored, saved
from scripts.campaign.programs import Place, Program
from scripts.campaign.rows import Row
from slots.training import RunError

_SIZE = 16 * 2**20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 16 MiB at `folder`; gives False where mounting is refused."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def full_disk(place: Place, times: int) -> Row:
    """A disk with little room left: at a random place writing fails; with room it goes on.

    Where mounting one is refused the row says so: `file_limit` needs no rights.
    """
    row = Row("disk full")
    with small_disk(place.folder / "disk") as mounted:
        if not mounted:
            row.told = "mounting was refused: see the limit on files"
            return row
        for number in range(times):
            _fill_up(place, row, number)
    row.told = f"tmpfs of {_SIZE >> 20} MiB; {_TOLD}"
    return row


_WRITTEN = "log.tensorboard=true"
_TENSORBOARD = ('"tensorboard": false', '"tensorboard": true')
_TOLD = "exit status 1, one sentence; what was saved before is sound"


def _fill_up(place: Place, row: Row, number: int) -> None:
    disk = place.folder / "disk"
    run, filler = disk / str(number), disk / "filler"
    # With TensorBoard's file, which is often the first that does not fit, and without it.
    settings = [_WRITTEN] if number % 2 else []
    if number:
        shutil.copytree(place.half, run)
        if settings:
            config = run / "config.json"
            config.write_text(config.read_text().replace(*_TENSORBOARD))
    before = saved(run)
    if number in (1, 2):  # as it comes to its end: what is written last does not fit
        program = place.start(run, *settings)
        program.until(lambda: last_step(run) == place.steps)
        _fill(filler, 0)
    else:  # the first run begins on a full disk
        _fill(filler, number and place.random.randrange(2**10, 1000 * 2**10))
        program = place.start(run, *settings)
    program.end()
    if program.status == 0:
        row.hit["with enough room"] += 1
    else:
        row.hit[what_failed(program)] += 1
        row.wrong += program.complaints(1, "the disk is full")
        _check_saved(row, run, before)
    filler.unlink()
    row.wrong += place.finish(run, *settings)
    row.compare(run, place.undisturbed("undisturbed"))
    shutil.rmtree(run)


def _fill(filler: Path, left: int) -> None:
    """Leaves so many bytes of the disk."""
    space = os.statvfs(filler.parent)
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        file.write(bytes(max(0, space.f_bavail * space.f_bsize - left)))


def file_limit(place: Place, times: int) -> Row:
    """No file may have more than some bytes, which random files of a run need."""
    row = Row("file size limit")
    sizes = [80_000, *(place.random.randrange(1_000, 80_000) for _ in range(times - 1))]
    for number, size in enumerate(sizes):
        run = place.folder / f"limited-{number}"
        shutil.copytree(place.half, run)
        before = saved(run)
        program = place.start(run, starter=[f"file_limit={size}"])
        program.end()
        row.hit[what_failed(program)] += 1
        row.wrong += program.complaints(1, "File too large")
        _check_saved(row, run, before)
        row.wrong += place.finish(run)
        row.compare(run, place.undisturbed("undisturbed"))
    row.told = f"RLIMIT_FSIZE; {_TOLD}"
    return row


def what_failed(program: Program) -> str:
    """Which kind of file could not be written, by what it said."""
    told = [line for line in program.said.splitlines() if line.startswith("slots: ")]
    names = (
        "checkpoint",
        "metrics.jsonl",
        "config.json",
        "tensorboard",
        "figures",
        "report",
        "evaluations",
    )
    found = [name for name in names if told and re.search(name, told[-1], re.IGNORECASE)]
    return found[0] if found else "elsewhere"


def _check_saved(row: Row, run: Path, before: list[int]) -> None:
    """What was saved before is there, and the newest is sound."""
    if not before:
        return
    if saved(run)[0] < before[0]:
        row.wrong.append(f"step {before[0]} was saved, {saved(run)[0]} is left")
    try:
        restored(run)
    except RunError as error:
        row.wrong.append(str(error))
