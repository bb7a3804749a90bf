"""What stands on a command line: a name, assignments, flags; and the run that they choose."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from slots.config import ConfigError, nearest


def split(
    words: list[str], what: str, flags: Sequence[str] = ()
) -> tuple[str, list[str], set[str]]:
    """The one positional argument, the assignments and the flags."""
    given = {w for w in words if w.startswith("-")}
    unknown = given - set(flags)
    if unknown:
        word = min(unknown)
        raise ConfigError(
            f"{word!r} is no option here{nearest(word, [*flags, '--traceback']) or '.'}"
        )
    rest = [w for w in words if w not in given]
    if not rest or "=" in rest[0]:
        raise ConfigError(f"Say which {what} first; see: slots --help")
    for word in rest[1:]:
        if "=" not in word:
            raise ConfigError(f"{word!r} is not of the form key=value.")
    return rest[0], rest[1:], given


def take(assignments: list[str], key: str) -> str | None:
    """Removes `key=...` from the assignments and returns its last value."""
    found = [a for a in assignments if a.startswith(f"{key}=")]
    for assignment in found:
        assignments.remove(assignment)
    return found[-1].partition("=")[2] if found else None


def two_after(words: list[str], flag: str) -> tuple[list[str], list[str]]:
    """Takes `flag A B` out of the words."""
    if flag not in words:
        return words, []
    place = words.index(flag)
    found = words[place + 1 : place + 3]
    if len(found) < 2 or any("=" in word or word.startswith("-") for word in found):
        raise ConfigError(f"{flag} wants two protocols, as in {flag} house/image mbo/lsd.")
    return words[:place] + words[place + 3 :], found


def restore(words: list[str], flags: Sequence[str] = ()) -> tuple[Any, set[str], str | None]:
    """The run that the words choose, the flags, and the value of `count=`."""
    from slots import runs
    from slots.evaluation import protocol as get_protocol

    target, assignments, given = split(words, "run folder", flags)
    wanted = take(assignments, "step") or "latest"
    count = take(assignments, "count")
    member = take(assignments, "member")
    protocol = take(assignments, "protocol")
    if protocol is not None:
        asked = get_protocol(protocol).items
        if asked is not None and not any(a.startswith("eval.count=") for a in assignments):
            assignments.append(f"eval.count={asked}")
        assignments.append(f"eval.protocol={protocol}")
    step: int | Literal["latest", "best"]
    if wanted == "best" or wanted == "latest":
        step = "best" if wanted == "best" else "latest"
    elif wanted.isdigit():
        step = int(wanted)
    else:
        raise ConfigError(f"step={wanted!r} should be a number, best or latest.")
    if member is not None and not member.isdecimal():
        raise ConfigError(f"member={member!r} should be a number, counted from 0.")
    run = runs.restore(target, step=step, overrides=assignments)
    return run if member is None else run.member(int(member)), given, count


def number(text: str | None, key: str, default: int) -> int:
    """The positive number that `key=text` says."""
    if text is not None and not (text.isdecimal() and int(text) > 0):
        raise ConfigError(f"{key}={text!r} should be a positive number.")
    return default if text is None else int(text)


def show_lines(*parts: Iterable[str]) -> None:
    """Prints lines as they come."""
    for line in itertools.chain(*parts):
        print(line)
