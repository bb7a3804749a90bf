"""Properties of objects as one vector each, as set prediction wants them.

A vector is [position | one-hot of each category | 1 if there is an object]; rows without an object
are zeros. With three coordinates and CLEVR's categories it has 19 numbers.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slots.config import ConfigError

Range = Literal["unit", "symmetric"]
"""Where coordinates lie: [0, 1] (Locatello et al. 2020) or [-1, 1] (Kirilenko et al. 2024)."""


@dataclasses.dataclass(frozen=True)
class PropertyLayout:
    """Which properties there are, and in which order."""

    position: int
    """Number of coordinates."""
    extent: float
    """Scene coordinates lie in [-extent, extent]."""
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    """Name of each category and those of its classes, in order."""

    @property
    def width(self) -> int:
        """Numbers per object."""
        return self.position + sum(self.sizes.values()) + 1

    @property
    def sizes(self) -> dict[str, int]:
        """Number of classes of each category."""
        return {name: len(classes) for name, classes in self.categories}

    @property
    def spans(self) -> dict[str, slice]:
        """Where each part lies: `position`, each category, and `present`."""
        spans, start = {}, 0
        for name, size in {"position": self.position, **self.sizes, "present": 1}.items():
            spans[name] = slice(start, start + size)
            start += size
        return spans

    def encode(self, properties: dict[str, Any], range_: Range) -> Float[Array, "b m p"]:
        """Vectors of a batch's properties.

        Args:
            properties: `position` [B,M,position] in the scene's own units, and per category int
                [B,M], classes from 1, 0 where there is no object.
            range_: of the coordinates in the vectors.

        Raises:
            ConfigError: a property is missing.
        """
        for name in self.spans:
            if name != "present" and name not in properties:
                raise ConfigError(
                    f"The data have no property {name!r}; they have {', '.join(properties)}."
                )
        first = properties[self.categories[0][0]]
        present = (first > 0)[..., None].astype(jnp.float32)
        place = properties["position"].astype(jnp.float32) / self.extent
        place = place if range_ == "symmetric" else (place + 1) / 2
        classes = [jax.nn.one_hot(properties[name] - 1, size) for name, size in self.sizes.items()]
        return jnp.concatenate([place * present, *classes, present], axis=-1)

    def distance_scale(self, range_: Range) -> float:
        """From differences of vectors to the scene's units."""
        return self.extent * (1 if range_ == "symmetric" else 2)


_SIZE = ("size", ("small", "large"))
_COLOR = ("color", ("gray", "blue", "brown", "yellow", "red", "green", "purple", "cyan"))
LAYOUTS = {
    "clevr": PropertyLayout(
        3,
        3.0,
        (
            _SIZE,
            ("material", ("rubber", "metal")),
            ("shape", ("cube", "sphere", "cylinder")),
            _COLOR,
        ),
    ),
    "shapes": PropertyLayout(2, 3.0, (_SIZE, ("shape", ("square", "circle", "triangle")), _COLOR)),
}
"""By name: CLEVR's, and that of the generated set `shapes`."""


def layout(name: str) -> PropertyLayout:
    """The layout called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"There is no property layout {name!r}; there are {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]
