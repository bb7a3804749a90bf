"""Files written whole or not at all and by one process; numbers that JSON has no word for."""

import contextlib
import errno
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, text: str) -> None:
    """Writes `text`, so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # others may write it, too
    try:
        with writing(path):
            temporary.write_text(text)
            temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # a full disk needs the room
        raise


@contextlib.contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Whether what the file `path` stands for is this process's for now.

    Whoever dies gives it back. Where there are no locks (Windows, some file systems), everybody is
    told yes.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        mine = True
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        except (ImportError, OSError):
            pass
        yield mine


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says which file could not be written, which Python does not where the disk is full.

    Raises:
        OSError: with one sentence that names the file.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or str(error)
        raise OSError(f"{path} could not be written: {reason}.") from error


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN: undefined values become null, in lists and groups too."""
    if isinstance(value, Mapping):
        return {name: finite_or_none(v) for name, v in value.items()}
    if isinstance(value, list):
        return [finite_or_none(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
