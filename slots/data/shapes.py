"""Shapes on a grey ground, described like CLEVR's objects: a set for set prediction."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.data.procedural import (
    ProceduralConfig,
    ProceduralDataset,
    check_numbers,
    pack,
    place_apart,
    unpack,
    zero_unless,
)

EXTENT = 3.0
"""The picture shows [-3, 3], where CLEVR's positions lie, and objects are wholly inside."""
COLORS = np.array(
    [
        (87, 87, 87),
        (42, 75, 215),
        (129, 74, 25),
        (255, 238, 51),
        (173, 35, 35),
        (29, 105, 20),
        (129, 38, 192),
        (41, 208, 208),
    ],
    np.uint8,
)
"""Gray, blue, brown, yellow, red, green, purple, cyan (the colours of CLEVR's renderer)."""
RADII = (0.5, 0.85)
"""Of small and large objects, in units of position: of the circle; the others have its area."""
_REACH = (np.sqrt(np.pi / 2), 1.0, np.sqrt(4 * np.pi / np.sqrt(27)))
"""Of the circle around a square, a circle and a triangle of a circle's area, to its radius."""
GROUND = 128
_CANDIDATES = 32
_STEPS = 1 << 12
"""Of the grid that positions lie on, from the middle to either side."""


class Shapes(ProceduralDataset):
    """Scenes of up to M objects, none covered, labelled in order of placement.

    A scene has `image` uint8 [h, w, 3], `segmentation` int32 [h, w] in 0 to M, `visibility` bool
    [M], `num_objects` int32 and the properties of M objects, zero where there is none:

    - `position` float32 [M, 2], (y, x), uniform over where the object is inside the picture;
    - `size` int32 [M]: 1 small, 2 large; `shape`: 1 square, 2 circle, 3 triangle; `color`: 1 to 8.
    """

    def __init__(self, config: "ShapesConfig") -> None:
        super().__init__(config)
        self.max_objects = config.max_objects
        self.image_shape = (config.resolution, config.resolution, 3)
        side = (np.arange(config.resolution) + 0.5) / config.resolution
        self._centers = np.float32((2 * side - 1) * EXTENT)

    @override
    def scene(self, key: Key[Array, ""]) -> dict[str, Any]:
        """One scene; see the class for its fields."""
        count = self.max_objects
        number_key, kind_key, place_key = jax.random.split(key, 3)
        least = self.config.min_objects  # type: ignore[attr-defined]
        wanted = jax.random.randint(number_key, (), least, count + 1)
        kinds = jax.random.randint(kind_key, (3, count), 0, jnp.array([[2], [3], [8]]))
        exists = jnp.arange(count) < wanted
        reach = jnp.outer(jnp.array(RADII), jnp.array(_REACH))[kinds[0], kinds[1]]
        # The largest are placed first, or the last would often find no place.
        order = jnp.argsort(jnp.where(exists, -reach, 0))
        size, shape, color = kinds[:, order]
        steps = jax.random.randint(place_key, (count, _CANDIDATES, 2), -_STEPS, _STEPS + 1)
        room = ((EXTENT - reach[order]) / _STEPS)[:, None, None]
        position, fits = place_apart(steps.astype(jnp.float32) * room, reach[order])
        exists &= fits
        radius = jnp.array(RADII)[size]
        inside = _inside(jnp.asarray(self._centers), position, radius, shape)
        words = pack(jnp.asarray(COLORS, jnp.uint32)[color])[:, None, None]
        ground = jnp.uint32(GROUND * 0x010101)
        canvas = jnp.full(inside.shape[1:], ground)
        drawn = jnp.where(inside & exists[:, None, None], words, 0)
        canvas = jnp.where((drawn > 0).any(axis=0), drawn.max(axis=0), canvas)
        image, segmentation = unpack(canvas)
        properties = {
            "position": position,
            "size": size + 1,
            "shape": shape + 1,
            "color": color + 1,
        }
        return {
            "image": image,
            "segmentation": segmentation,
            "properties": zero_unless(exists, properties),
            "visibility": exists,
            "num_objects": exists.sum().astype(jnp.int32),
        }


def _inside(
    centers: Float[Array, "s"],
    position: Float[Array, "m 2"],
    radius: Float[Array, "m"],
    shape: Int32[Array, "m"],
) -> Bool[Array, "m s s"]:
    """Pixels whose centre belongs to each object."""
    y = (centers[None, :, None] - position[:, 0, None, None]) / radius[:, None, None]
    x = (centers[None, None, :] - position[:, 1, None, None]) / radius[:, None, None]
    half = np.float32(np.sqrt(np.pi) / 2)  # a square of the circle's area
    square = (abs(y) <= half) & (abs(x) <= half)
    circle = y * y + x * x <= 1
    side = np.float32(np.sqrt(4 * np.pi / np.sqrt(3)))  # an equilateral triangle of its area
    height = np.float32(side * np.sqrt(3) / 2)
    down = y + 2 * height / 3  # from the tip
    triangle = (down >= 0) & (down <= height) & (abs(x) <= down * (side / (2 * height)))
    kind = shape[:, None, None]
    return jnp.where(kind == 0, square, jnp.where(kind == 1, circle, triangle))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapesConfig(ProceduralConfig):
    """Settings of `Shapes`."""

    resolution: int = 48
    """Side of the picture in pixels."""
    min_objects: int = 1
    max_objects: int = 4

    def __post_init__(self) -> None:
        """Raises ConfigError for numbers of objects that do not fit the picture."""
        super().__post_init__()
        check_numbers(self.min_objects, self.max_objects)
        if self.resolution < 16:
            raise ConfigError(f"data.resolution={self.resolution} should be at least 16.")

    @override
    def make(self) -> Shapes:
        """The data set."""
        return Shapes(self)
