"""Textured shapes on textured ground: generated scenes that colour alone does not part."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Key, UInt8, UInt32
from typing_extensions import override

from slots.config import ConfigError
from slots.data.procedural import (
    ProceduralConfig,
    ProceduralDataset,
    check_numbers,
    zero_unless,
)

Variant = Literal["full", "camo", "outd"]

SHAPES = ("disc", "square", "triangle", "ring", "star", "cross")
_SHAPES_OF: dict[Variant, tuple[int, int]] = {"full": (0, 4), "camo": (0, 4), "outd": (4, 6)}
"""First and past the last."""
RADII = (0.10, 0.20)
"""Of the circle around an object, in sides of the picture."""
CENTRES = (0.15, 0.85)
KEPT = 0.4
"""Part of its outline that each object keeps."""
WAVES = 4
"""Cosines in a texture."""
_FREQUENCIES: dict[Variant, tuple[float, float]] = {
    "full": (2.0, 16.0),
    "camo": (2.0, 16.0),
    "outd": (8.0, 24.0),
}
"""Least and most cycles in a picture; their logarithm is uniform."""
_AMPLITUDE = 0.12
_MEANS = (0.2, 0.8)


class Textured(ProceduralDataset):
    """Scenes of 2 to 6 textured objects, labelled in drawing order; later ones cover earlier ones.

    The law of the project's own stand-in for CLEVRTex: every texture is a mean colour and four
    cosine waves. `camo`: all textures of a scene are the same but for their phases; `outd`: finer
    waves and other shapes. The places of a scene are drawn anew until every object keeps 40 % of
    its pixels; their number stays, so that it is uniform.

    A scene has `image` uint8 [h, w, 3], `segmentation` int32 [h, w] in 0 to M, `visibility` bool
    [M], `num_objects` int32 and the properties of M objects, zero where there is none:

    - `shape` int32 [M]: 1 disc, 2 square, 3 triangle, 4 ring, 5 star, 6 cross;
    - `position` float32 [M, 2]: the centre, (y, x) in [-1, 1];
    - `radius` float32 [M] of the circle around it, in sides of the picture;
    - `rotation` float32 [M], radians in [0, 2π).

    Waves are sums of floats: between kinds of device a level may differ by one, or a pixel on an
    outline.
    """

    config: "TexturedConfig"

    def __init__(self, config: "TexturedConfig") -> None:
        super().__init__(config)
        self.max_objects = config.max_objects
        self.image_shape = (config.resolution, config.resolution, 3)
        self._centers = ((np.arange(config.resolution) + 0.5) / config.resolution).astype(
            np.float32
        )

    @override
    def scene(self, key: Key[Array, ""]) -> dict[str, Any]:
        """One scene; see the class for its fields."""
        number_key, place_key, texture_key = jax.random.split(key, 3)
        count = jax.random.randint(
            number_key, (), self.config.min_objects, self.max_objects + 1, jnp.int32
        )
        exists = jnp.arange(self.max_objects) < count
        objects = self._objects(place_key, exists)
        inside = self._inside(objects) & exists[:, None, None]
        labels = jnp.where(inside, jnp.arange(1, len(exists) + 1)[:, None, None], 0).max(axis=0)
        properties = {**objects, "shape": objects["shape"] + 1}
        properties["position"] = 2 * objects["position"] - 1
        return {
            "image": self._textures(texture_key, labels),
            "segmentation": labels,
            "properties": zero_unless(exists, properties),
            "visibility": exists,
            "num_objects": count,
        }

    def _objects(self, key: Key[Array, ""], exists: Bool[Array, "m"]) -> dict[str, Array]:
        """Shapes and places, the first that hide no object too far."""

        def place(attempt: Int32[Array, ""]) -> dict[str, Array]:
            draws = jax.random.uniform(jax.random.fold_in(key, attempt), (5, self.max_objects))
            first, last = _SHAPES_OF[self.config.variant]
            return {
                "shape": first + jnp.floor(float(last - first) * draws[0]).astype(jnp.int32),
                "radius": _between(draws[1], *RADII),
                "rotation": _between(draws[2], 0.0, 2 * np.pi),
                "position": _between(draws[3:].T, *CENTRES),
            }

        def hides(attempt: Int32[Array, ""]) -> Bool[Array, ""]:
            own = _packed(self._inside(place(attempt)) & exists[:, None, None])
            later = jnp.bitwise_or.accumulate(own[:0:-1])[::-1]
            seen = own & ~jnp.concatenate([later, jnp.zeros_like(own[:1])])
            kept, whole = (
                jax.lax.population_count(x).sum(axis=-1).astype(jnp.float32) for x in (seen, own)
            )
            return (kept < KEPT * whole).any()

        return place(jax.lax.while_loop(hides, lambda attempt: attempt + 1, jnp.int32(0)))

    def _inside(self, objects: dict[str, Array]) -> Bool[Array, "m h w"]:
        """Pixels whose centre belongs to each object, whatever covers it."""
        y = self._centers[None, :, None] - objects["position"][:, 0, None, None]
        x = self._centers[None, None, :] - objects["position"][:, 1, None, None]
        radius = objects["radius"][:, None, None]
        cosine = jnp.cos(objects["rotation"])[:, None, None] / radius
        sine = jnp.sin(objects["rotation"])[:, None, None] / radius
        u, v = cosine * x + sine * y, cosine * y - sine * x
        kind = objects["shape"][:, None, None]
        if self.config.variant == "outd":
            return jnp.where(kind == SHAPES.index("star"), _star(u, v), _cross(u, v))
        distance = u * u + v * v
        disc, ring = distance <= 1, (distance <= 1) & (distance >= 0.25)
        square = jnp.maximum(abs(u), abs(v)) <= np.float32(np.sqrt(0.5))
        triangle = _beyond(u, v, 3, 0.5) == 0
        return jnp.select([kind == 0, kind == 1, kind == 2], [disc, square, triangle], ring)

    def _textures(self, key: Key[Array, ""], labels: Int32[Array, "h w"]) -> UInt8[Array, "h w 3"]:
        """Paints every label, the ground's 0 among them, with its own texture."""
        config, count = self.config, self.max_objects + 1
        color_key, other_key = jax.random.split(key)
        color = _AMPLITUDE * jax.random.normal(color_key, (count, WAVES, 3))
        draws = jax.random.uniform(other_key, (count, 3 * WAVES + 3))
        phase = _between(draws[:, :WAVES], 0.0, 2 * np.pi)
        if config.variant == "camo":
            color, draws = (jnp.broadcast_to(x[:1], x.shape) for x in (color, draws))
        direction = _between(draws[:, WAVES : 2 * WAVES], 0.0, 2 * np.pi)
        cycles = jnp.exp(_between(draws[:, 2 * WAVES : -3], *np.log(_FREQUENCIES[config.variant])))
        mean = _between(draws[:, -3:], *_MEANS)
        centers = self._centers[None, None]
        down = 2 * np.pi * (cycles * jnp.sin(direction))[..., None] * centers
        right = 2 * np.pi * (cycles * jnp.cos(direction))[..., None] * centers
        down = down + phase[..., None]
        # cos(a + b) = cos a · cos b − sin a · sin b: a product of matrices in place of a cosine for
        # every pixel and wave.
        rows = jnp.concatenate([jnp.cos(down), -jnp.sin(down)], axis=1)
        columns = jnp.concatenate([jnp.cos(right), jnp.sin(right)], axis=1)
        columns = columns[..., None] * jnp.concatenate([color, color], axis=1)[:, :, None]

        def cover(
            canvas: Float[Array, "h w 3"], texture: Any
        ) -> tuple[Float[Array, "h w 3"], None]:
            rows, columns, mean, label = texture
            waves = jnp.einsum("jy,jxc->yxc", rows, columns, precision="highest")
            return jnp.where((labels == label)[..., None], mean[None, None] + waves, canvas), None

        # A loop, so that no array holds all textures of the scene.
        textures = (rows, columns, mean, jnp.arange(count))
        canvas = jax.lax.scan(cover, jnp.zeros(self.image_shape), textures)[0]
        return jnp.round(255 * jnp.clip(canvas, 0, 1)).astype(jnp.uint8)


def _between(draws: Float[Array, "*n"], low: float, high: float) -> Float[Array, "*n"]:
    """Draws from [0, 1) brought to [low, high)."""
    return np.float32(low) + np.float32(high - low) * draws


def _packed(inside: Bool[Array, "m h w"]) -> UInt32[Array, "m n"]:
    """32 pixels to a word: counted bit by bit, they take XLA:CPU (jax 0.10) 25 times as long."""
    pixels = inside.reshape(len(inside), -1).astype(jnp.uint32)
    words = jnp.pad(pixels, ((0, 0), (0, -pixels.shape[1] % 32))).reshape(len(inside), -1, 32)
    return (words << jnp.arange(32, dtype=jnp.uint32)[None, None]).sum(axis=-1, dtype=jnp.uint32)


def _beyond(
    u: Float[Array, "m h w"], v: Float[Array, "m h w"], sides: int, distance: float
) -> Int32[Array, "m h w"]:
    """How many sides of a regular polygon a point lies beyond; `distance`: of a side from 0."""
    angles = 2 * np.pi * np.arange(sides) / sides
    passed = [(np.cos(a) * u + np.sin(a) * v > distance).astype(jnp.int32) for a in angles]
    return sum(passed, jnp.zeros_like(passed[0]))


def _star(u: Float[Array, "m h w"], v: Float[Array, "m h w"]) -> Bool[Array, "m h w"]:
    """A pentagram: a pentagon, and its tips, which lie beyond one side of it each."""
    return _beyond(u, v, 5, np.cos(2 * np.pi / 5)) <= 1


def _cross(u: Float[Array, "m h w"], v: Float[Array, "m h w"]) -> Bool[Array, "m h w"]:
    """Two bars, each a third of a diameter wide."""
    width = 1 / 3
    short, long = jnp.minimum(abs(u), abs(v)), jnp.maximum(abs(u), abs(v))
    return (short <= width) & (long <= np.sqrt(1 - width**2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TexturedConfig(ProceduralConfig):
    """Settings of `Textured`."""

    variant: Variant = "full"
    """`camo`: one texture for a whole scene; `outd`: shapes and textures that `full` has not."""
    resolution: int = 64
    """Side of the picture in pixels."""
    min_objects: int = 2
    max_objects: int = 6

    def __post_init__(self) -> None:
        """Raises ConfigError for sizes and numbers that cannot be drawn."""
        super().__post_init__()
        check_numbers(self.min_objects, self.max_objects)
        if self.resolution < 32:
            raise ConfigError(f"data.resolution={self.resolution} should be at least 32.")

    @override
    def make(self) -> Textured:
        """The data set."""
        return Textured(self)
