"""Writes the table of protocols into docs/metrics.md.

python scripts/protocols.py
"""

import dataclasses
from pathlib import Path

from slots.conditions import table
from slots.evaluation import PROTOCOLS, Protocol

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- protocols: written by `python scripts/protocols.py` -->", "<!-- end -->"
_SAID = ("id", "used_by", "items", "seeds", "error", "unknown", "notes")


def protocols() -> str:
    """A row for every protocol; only fields that differ from the house's are named."""
    house = Protocol(id="")
    rows = []
    for one in PROTOCOLS.values():
        fields = {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
        rules = [
            f"{name}={_word(value)}"
            for name, value in fields.items()
            if name not in _SAID and value != getattr(house, name)
        ]
        seeds = "?" if "seeds" in one.unknown else one.seeds or ""
        items = "?" if "items" in one.unknown else one.items or ""
        remarks = [f"unknown: {', '.join(one.unknown)}"] if one.unknown else []
        remarks += [one.notes] if one.notes else []
        spread = f"{seeds}, ± {one.error}" if one.seeds else seeds
        rows.append(
            [f"`{one.id}`", one.used_by, ", ".join(rules), items, spread, "; ".join(remarks)]
        )
    return table(["id", "used by", "unlike the house's", "examples", "seeds", "remarks"], rows)


def _word(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)


def page(text: str) -> str:
    """The page with today's table."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{protocols()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
