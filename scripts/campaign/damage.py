"""Newest checkpoints that are damaged, and compiled programs that a kill cut short."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.campaign.compare import digest, restored, saved
from scripts.campaign.programs import Place
from scripts.campaign.rows import Row
from slots.training import RunError

Draw = Callable[[int], int]


def _flip(path: Path, draw: Draw) -> None:
    data = bytearray(path.read_bytes())
    data[draw(len(data))] ^= 1 << draw(8)
    path.write_bytes(data)


def _truncate(path: Path, draw: Draw) -> None:
    path.write_bytes(path.read_bytes()[: draw(path.stat().st_size)])


def _delete(path: Path, draw: Draw) -> None:
    path.unlink()


def _empty(folder: Path, draw: Draw) -> None:
    for path in _files(folder):
        path.unlink()


HARMS: dict[str, Callable[[Path, Draw], None]] = {
    "bit flipped": _flip,
    "truncated": _truncate,
    "deleted": _delete,
}
NOTICED, SAME = "noticed", "in what is not read"


def damaged_read(place: Place, times: int) -> Row:
    """Files of the newest checkpoint are harmed in turn; this process restores what is left."""
    row, whole = Row("newest checkpoint damaged, read back"), place.half
    newest = whole / "checkpoints" / str(saved(whole)[0])
    files = _files(newest)
    harms = list(HARMS)
    place.random.shuffle(files)
    for number in range(times):
        # All files come once before one comes again, and then with the next harm.
        kind = harms[(number + number // len(files)) % len(harms)]
        target, harm = files[number % len(files)], HARMS[kind]
        if number == times - 1:
            kind, target, harm = "emptied", newest, _empty
        copy = place.folder / f"harmed-{number}"
        shutil.copytree(whole, copy)
        harm(copy / target.relative_to(whole), place.random.randrange)
        outcome = _restore(copy, whole)
        row.hit[f"{kind}, {outcome}"] += 1
        if outcome not in (NOTICED, SAME):
            row.wrong.append(f"{target.relative_to(newest)} {kind}: {outcome}")
        shutil.rmtree(copy)
    row.told = "one sentence says which and why, it is kept in `damaged/`, the one before is used"
    return row


def damaged_programs(place: Place, times: int) -> Row:
    """The same with whole programs, which go on to the end; all files of one kind are harmed."""
    row = Row("newest checkpoint damaged, gone on with")
    for number in range(times):
        run = place.folder / f"damaged-{number}"
        shutil.copytree(place.half, run)
        newest, older = saved(run)[:2]
        kind = list(HARMS)[number % len(HARMS)]
        for file in _files(run / "checkpoints" / str(newest) / "arrays"):
            if file.parent.name == "d":  # what holds the arrays
                HARMS[kind](file, place.random.randrange)
        row.hit[kind] += 1
        program = place.start(run)
        row.wrong += program.complaints(0)
        if program.said.count(f"Checkpoint {newest} is damaged and passed over: ") != 1:
            row.wrong.append(f"{kind}: nothing was said of checkpoint {newest}")
        if f"Going on from step {older}." not in program.said:
            row.wrong.append(f"{kind}: did not go on from step {older}")
        if not (run / "damaged" / str(newest)).is_dir():
            row.wrong.append(f"{kind}: checkpoint {newest} was not kept")
        row.compare(run, place.undisturbed("undisturbed"))
    row.told = "exit status 0, one sentence says which and why, it is kept in `damaged/`"
    return row


def damaged_cache(place: Place, times: int) -> Row:
    """What a kill may leave of compiled programs, which JAX does not write whole."""
    row, cache = Row("kept compiled programs cut short"), place.folder / "cache" / "xla"
    for number in range(times):
        run = place.folder / f"cache-{number}"
        shutil.copytree(place.half, run)
        for file in _files(cache):
            _truncate(file, place.random.randrange)
        row.hit["all of them"] += 1
        program = place.start(run)
        row.wrong += program.complaints(0)
        if "was cut short and is compiled anew." not in program.said:
            row.wrong.append("nothing was said of it")
        row.compare(run, place.undisturbed("undisturbed"))
        again = place.start(run)  # it is over, and draws its figures
        row.wrong += again.complaints(0)
        if "was cut short" in again.said:
            row.wrong.append("what was cut short was not replaced")
    row.told = "exit status 0, a line for each; compiled anew and kept: the next start is silent"
    return row


def _files(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path.stat().st_size]


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _restore(run: Path, whole: Path) -> str:
    """What came of restoring a copy of `whole` in which something was harmed."""
    newest, older = saved(whole)[:2]
    heard, log = _Heard(), logging.getLogger("slots")
    log.addHandler(heard)
    passes, log.propagate = log.propagate, False
    try:
        state, step = restored(run, writable=True)
    except (RunError, OSError) as error:
        return f"nothing could be restored: {error}"
    finally:
        log.removeHandler(heard)
        log.propagate = passes
    if digest(state) != digest(restored(whole, step=step)[0]):
        return f"step {step} came back with other bits"
    if step == newest:
        return f"said {heard.lines[0]!r} of nothing" if heard.lines else SAME
    if step != older:
        return f"step {step} was restored"
    wanted = f"Checkpoint {newest} is damaged and passed over: "
    if [line.startswith(wanted) and "\n" not in line for line in heard.lines] != [True]:
        return f"it was said: {heard.lines}"
    if not (run / "damaged" / str(newest)).is_dir():
        return "it was not kept"
    return NOTICED
