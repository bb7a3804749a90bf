"""A paper's row, run here: trains what is missing, and writes one page of all cards.

    python scripts/ledger.py --row slot_attention/tetrominoes
    python scripts/ledger.py                           only the page

Cards and curves stand in docs/results/ledger/, runs in runs/ledger/. One row at a time: peak memory
is a process's.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from slots.conditions import table
from slots.evaluation.evaluation import counted
from slots.published import ROWS
from slots.reproduce import CARD, CURVES, find, reproduce

ROOT = Path(__file__).parents[1]
RESULTS, RUNS = ROOT / "docs" / "results", ROOT / "runs" / "ledger"
BEGIN, END = "<!-- cards: written by `python scripts/ledger.py` -->", "<!-- end -->"


def collect(name: str, results: Path, runs: Path, settings: list[str]) -> None:
    """Runs a row, or what is left of it, and puts its card beside the others."""
    place = results / "ledger" / name.replace("/", "-")
    command = ["slots", "reproduce", name, *settings]
    reproduce(find(name), runs / name, settings=settings, command=command)
    place.mkdir(parents=True, exist_ok=True)
    for file in (CARD, CURVES):
        shutil.copy(runs / name / file, place / file)


def cards(results: Path) -> list[dict[str, Any]]:
    """Those there are, in the order of the rows."""
    found = [results / "ledger" / name.replace("/", "-") / CARD for name in ROWS]
    return [json.loads(path.read_text()) for path in found if path.exists()]


def page(text: str, results: Path) -> str:
    """The page with today's cards."""
    rows = []
    for card in cards(results):
        name = card["row"].replace("/", "-")
        values = card["values"] or {
            metric: {"ours": card["all"][metric][0], "ours_std": card["all"][metric][1]}
            for metric in ("fg_ari", "ari")
        }
        for metric, value in values.items():
            rows.append(
                [
                    f"[{card['row']}](ledger/{name}/card.json)",
                    card["size"],
                    metric,
                    _spread(value["ours"], value["ours_std"]),
                    _spread(value.get("paper"), value.get("paper_std")),
                    value.get("verdict", ""),
                    f"`{card['protocol']}`, {counted(**card['items'])}, "
                    f"seeds {', '.join(map(str, card['seeds']))}",
                    f"{card['steps']:,} at {card['steps_per_second']:.0f}/s",
                    card["commit"],
                ]
            )
    heads = ["row", "size", "metric", "here", "paper", "verdict", "measured by", "steps", "commit"]
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table(heads, rows)}\n{END}{rest.partition(END)[2]}"


def _spread(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.3f}" + ("" if std is None else f" ± {std:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    compact = [name for name, row in ROWS.items() if row.compact is not None]
    parser.add_argument("--row", choices=compact)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("settings", nargs="*", help="key=value")
    options = parser.parse_args()
    path = options.results / "ledger.md"
    if options.row is not None:
        collect(options.row, options.results, options.runs, options.settings)
    path.write_text(page(path.read_text(), options.results))


if __name__ == "__main__":
    main()
