"""What separates two protocols: one field switched after the other, on the same masks."""

import dataclasses
from collections.abc import Callable
from typing import Any

from slots.evaluation.evaluation import Evaluation
from slots.evaluation.protocols import EXPLAINED, Protocol


@dataclasses.dataclass(frozen=True)
class Switch:
    """One field on the way from a protocol to another, and what all are worth up to it."""

    field: str
    """Empty for the first protocol as it is."""
    before: Any
    after: Any
    evaluation: Evaluation


def explain(
    score: Callable[[Protocol], Evaluation], first: Protocol, other: Protocol
) -> list[Switch]:
    """Scores under `first`, then with one field after the other as `other` has it.

    The last one has all numbers of `other`. What a switch is worth depends on those before it:
    fields are switched in the order of `EXPLAINED`.

    Args:
        score: the same masks under any protocol.
        first: where to begin.
        other: where to end.
    """
    current = first
    path = [Switch("", None, None, score(current))]
    for field in EXPLAINED:
        before, after = getattr(current, field), getattr(other, field)
        if before != after:
            current = dataclasses.replace(current, **{field: after})
            path.append(Switch(field, before, after, score(current)))
    return path
