"""Scores as text and as data: every number with its protocol, its count and its seeds."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slots.evaluation import MASK_METRICS, Evaluation, Protocol, Statistic
from slots.evaluation.explain import Switch
from slots.files import finite_or_none


def as_data(evaluation: Evaluation, seeds: Sequence[int]) -> dict[str, Any]:
    """Plain numbers, null where a value is undefined.

    Args:
        evaluation: of all members.
        seeds: theirs.
    """
    asked = evaluation.protocol.items
    return {
        "seeds": list(seeds),
        "protocol": evaluation.protocol.id,
        "items": {"scored": len(evaluation.per_example["index"]), "asked": asked},
        "metrics": {name: _plain(s) for name, s in evaluation.statistics.items()},
        "verdicts": [dataclasses.asdict(verdict) for verdict in evaluation.verdicts],
    }


def describe(evaluation: Evaluation, seeds: Sequence[int] = ()) -> str:
    """Protocol, count and seeds, in words."""
    several = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else ""
    found = several or (f"seed {seeds[0]}" if seeds else "")
    asked = evaluation.protocol.seeds
    if found and asked is not None and asked != len(seeds):
        found += f" (the protocol asks for {asked})"
    parts = [f"protocol {evaluation.protocol.id}", evaluation.items, found]
    return ", ".join(part for part in parts if part)


def lines(evaluation: Evaluation, seeds: Sequence[int] = ()) -> Iterator[str]:
    """A line for every metric, then the verdicts."""
    protocol = evaluation.protocol
    for name, s in evaluation.statistics.items():
        spread, over = s.stderr, ""
        if s.members:
            spread, over = _over_seeds(s, protocol), f"{len(s.members)} seeds, "
        error = "" if math.isnan(spread) else f" ± {spread:.4f}"
        yield f"  {name:<26} {s.mean:.4f}{error}  ({over}n = {s.count})"
    for number, verdict in enumerate(evaluation.verdicts):
        whose = f" of seed {seeds[number]}" if seeds else ""
        yield f"  slots{whose}: {verdict}"


def reference_lines(references: Mapping[str, Evaluation]) -> Iterator[str]:
    """A table of the scores of segmentations that need no learning."""
    for number, (name, evaluation) in enumerate(references.items()):
        statistics = evaluation.statistics
        names = [metric for metric in MASK_METRICS if metric in statistics]
        if number == 0:
            yield "without learning" + "".join(f"{metric:>11}" for metric in names)
        yield f"  {name:<14}" + "".join(f"{statistics[n].mean:11.4f}" for n in names)


def explained(path: Sequence[Switch]) -> Iterator[str]:
    """A line for every switched field: what scores are with it, and by how much it moved them."""
    names = [name for name in MASK_METRICS if name in path[0].evaluation.statistics]
    yield f"{'':<36}" + "".join(f"{name:>19}" for name in names)
    before: Mapping[str, Statistic] | None = None
    for switch in path:
        found = switch.evaluation.statistics
        change = f"{switch.field}: {_short(switch.before)} → {_short(switch.after)}"
        cells = []
        for name in names:
            if name not in found:
                cells.append("–")
                continue
            moved = found[name].mean - before[name].mean if before else math.nan
            cells.append(
                f"{found[name].mean:.4f}" + ("" if math.isnan(moved) else f" ({moved:+.4f})")
            )
        title = change if switch.field else path[0].evaluation.protocol.id
        yield f"{title:<36}" + "".join(f"{cell:>19}" for cell in cells)
        before = found


def explained_data(path: Sequence[Switch]) -> list[dict[str, Any]]:
    """The same as plain numbers."""
    return [
        {
            "field": switch.field or None,
            "before": switch.before,
            "after": switch.after,
            "metrics": {n: _plain(s) for n, s in switch.evaluation.statistics.items()},
        }
        for switch in path
    ]


def _short(value: Any) -> str:
    return (
        "×".join(map(str, value))
        if isinstance(value, tuple)
        else str(value).replace("None", "truth")
    )


def _over_seeds(s: Statistic, protocol: Protocol) -> float:
    return s.seeds_std / (math.sqrt(len(s.members)) if protocol.error == "stderr" else 1)


def _plain(s: Statistic) -> dict[str, Any]:
    found = {
        "mean": s.mean,
        "stderr": s.stderr,
        "count": s.count,
        "seeds_mean": s.seeds_mean,
        "seeds_std": s.seeds_std,  # needs at least two seeds
    }
    return dict(finite_or_none(found))
