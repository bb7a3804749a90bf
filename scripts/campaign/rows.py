"""What a hazard did to a run: a row of the page."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.campaign.compare import differences


@dataclasses.dataclass
class Row:
    """A hazard, how often it struck, and what came of it."""

    hazard: str
    hit: Counter[str] = dataclasses.field(default_factory=Counter)
    """Where it struck, and how often there."""
    told: str = ""
    """What was checked of what the program said, and how it ended."""
    wrong: list[str] = dataclasses.field(default_factory=list)
    """What should be otherwise."""

    @property
    def times(self) -> int:
        """How often it struck."""
        return self.hit.total()

    def compare(self, run: Path, undisturbed: Path) -> None:
        """Notes what the end of `run` has not in common with the run that nothing happened to."""
        self.wrong += differences(run, undisturbed)

    def cells(self) -> list[str]:
        """As the page has it."""
        where = ", ".join(f"{count} {place}" for place, count in self.hit.most_common())
        end = "the same" if not self.wrong else f"FAIL: {'; '.join(dict.fromkeys(self.wrong))}"
        return [self.hazard, str(self.times), where, self.told, end]


HEADS: Sequence[str] = ("hazard", "times", "where it struck", "what was checked besides", "the end")
