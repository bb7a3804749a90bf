"""What a check found."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A line of `slots selftest`."""

    name: str
    ok: bool
    told: str
    """Figures, or what is wrong."""

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name:<10}  {self.told}"
