"""What exactly is measured: a protocol has an id that is printed beside every number."""

import dataclasses
from typing import Literal

from slots.config import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which masks and which examples enter, and how they are compared.

    Soft masks are enlarged to the size of the truth (bilinear, half-pixel centres) before the
    argmax; every label counts, a background component's too. FG-ARI drops background pixels, the
    overlap metrics only the background segment. Values are means over pictures (clips).
    """

    id: str
    empty: Literal["skip", "one", "zero"] = "skip"
    """What an example without a defined value counts as."""
    items: int | None = None
    """How many examples the protocol asks for; None: as many as are given."""


PROTOCOLS = {
    p.id: p
    for p in (
        Protocol(id="house/image"),
        Protocol(id="house/clip"),
        Protocol(id="fg-ari/slot-attention", items=320),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"There is no protocol {name!r}; there are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
