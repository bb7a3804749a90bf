"""Kills and harms small runs in every way that is known, and compares their ends.

    python -m scripts.campaign --out docs/results/campaign.md     all of it, about 20 minutes
    python -m scripts.campaign --short                            a few of each, minutes

Each run is gone on with by the same command and held against one that nothing happened to: every
array of the final state by its bits, and every record. The exit status is 1 if a row fails.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.campaign import damage, data, disk, kills
from scripts.campaign.programs import Place
from scripts.campaign.rows import HEADS, Row
from slots.conditions import table
from slots.provenance import commit, machine
from slots.training import RunError

Hazard = Callable[[Place], Row]


def hazards(number: int, *, short: bool) -> list[Hazard]:
    """All of them, `number` kills among them."""

    def times(full: int) -> int:
        return min(full, 2) if short else full

    return [
        lambda place: kills.killed(place, 3 if short else number),
        kills.killed_at_first,
        lambda place: kills.stopped(place, signal.SIGTERM, times(10)),
        lambda place: kills.stopped(place, signal.SIGINT, times(3)),
        lambda place: kills.stopped_early(place, signal.SIGTERM, times(3)),
        lambda place: kills.stopped_early(place, signal.SIGINT, times(3)),
        lambda place: kills.started_twice(place, times(5)),
        lambda place: disk.full_disk(place, times(7)),
        lambda place: disk.file_limit(place, times(3)),
        lambda place: damage.damaged_read(place, times(80)),
        lambda place: damage.damaged_programs(place, times(3)),
        lambda place: damage.damaged_cache(place, 1),
        lambda place: data.lost_pictures(place, times(3)),
        lambda place: data.poisoned(place, times(2)),
        lambda place: data.all_poisoned(place, 1),
    ]


def rows(place: Place, wanted: list[Hazard]) -> Iterator[Row]:
    """Of each hazard as it is done."""
    for hazard in wanted:
        begun = time.monotonic()
        try:
            row = hazard(place)
        except (RunError, OSError) as error:  # what the others found is not lost
            row = Row("a hazard that could not be tried", wrong=[str(error)])
        state = "FAIL" if row.wrong else "ok"
        print(
            f"{state:<5} {' | '.join(row.cells())} ({time.monotonic() - begun:.0f} s)", flush=True
        )
        yield row


def page(found: list[Row], command: str, minutes: float) -> str:
    """The page of results."""
    return f"""# Runs that are killed and harmed

`{command}`, commit {commit()}, {machine()}, {minutes:.0f} minutes.

A small run (the preset `slot_attention/tetrominoes_cpu` with some thousand parameters, saved every
25 steps) is struck at random moments, gone on with by the same command, and held against a run that
nothing happened to. "The same" means: every array of the final state (parameters, their average,
the optimizer's, counters) has the same bits, and `metrics.jsonl` holds each step once with the same
values, rates apart. Besides what a column says, no program may write a line to stderr that is not
its own: a traceback, or what a library has to say, fails the row.

{table(list(HEADS), [row.cells() for row in found])}

- Where SIGKILL struck "saving", a temporary folder of this start's own checkpoint was left behind:
  it was in the middle of a save for certain. "Training" holds steps, evaluations and what follows
  a save.
- Damage "in what is not read" leaves the same bits: files that Orbax writes and never reads, and
  places in others that nothing is read from.
"""


def main() -> int:
    """Status 1 where a row fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=51)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--out", type=Path, help="file for the page; default: print it")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="slots-campaign-") as folder:
        place = Place(Path(folder), seed=options.seed)
        found = [*rows(place, hazards(options.kills, short=options.short))]
    command = " ".join(["python -m scripts.campaign", *sys.argv[1:]])
    text = page(found, command, (time.monotonic() - begun) / 60)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)
    return int(any(row.wrong for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
