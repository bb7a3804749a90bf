"""Solid objects in a room, seen in perspective: generated scenes labelled like Objects Room."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.data.procedural import (
    ProceduralConfig,
    ProceduralDataset,
    hsv_to_rgb,
    place_apart,
    zero_unless,
)

Variant = Literal["train", "empty_room", "six_objects", "identical_color"]

NUM_OBJECTS: dict[Variant, tuple[int, int]] = {
    "train": (1, 3),
    "empty_room": (0, 0),
    "six_objects": (6, 6),
    "identical_color": (4, 6),
}
"""Least and most."""
SKY, FLOOR, WALLS = 0, 1, (2, 3)
"""Entities of the raw map; objects follow from 4 on."""
SHAPES = ("sphere", "box", "cylinder")
RADII = (0.22, 0.34)
ROOM, WALL_HEIGHT = 2.0, 1.0
"""Half the side of the square floor, and how high its walls are."""
_HALF = np.array([[1, 1, 1], [0.8, 0.8, 0.8], [0.75, 0.75, 0.9]], np.float32)
"""Half the extent of each shape along x, y and up, in radii."""
_FIELD = np.tan(np.radians(32))
"""Half the width of the picture at a distance of 1."""
_CANDIDATES = 64
_FAR = 1e6
_Vector = tuple[Array, ...]
"""x, y, z, each a number or one for every pixel."""
_Canvas = tuple[Int32[Array, "h w"], Float[Array, "h w"], Float[Array, "h w"]]
"""Entity, distance and brightness of what each ray meets."""


class Room(ProceduralDataset):
    """Scenes of a walled floor under the sky with up to M objects on it, in no order of depth.

    The project's own stand-in for Objects Room, with its four variants: `train` has one to three
    objects, `empty_room` none, `six_objects` six, `identical_color` four to six of one colour. M is
    3 in `train`, else 6. Camera, light, places, sizes, turns and colours vary; nothing casts a
    shadow.

    A scene has `image` uint8 [h, w, 3], `segmentation` int32 [h, w] in 0 to M, with sky, floor and
    walls as background, `semantic` int32 [h, w], the map of all entities (0 sky, 1 floor, 2 and 3
    the halves of the walls, 4 + i object i; a half may be out of view), `visibility` bool [M] (a
    pixel of the object is seen), `num_objects` int32 and the properties of M objects, zero where
    there is none:

    - `shape` int32 [M]: 1 sphere, 2 box, 3 cylinder;
    - `position` float32 [M, 2]: where it stands, (y, x) in [-2, 2] of the floor;
    - `radius` float32 [M]; `color` float32 [M, 3] in [0, 1], unshaded.

    Rays are floats: between kinds of device a level may differ by one, or a pixel on an outline.
    """

    config: "RoomConfig"

    def __init__(self, config: "RoomConfig") -> None:
        super().__init__(config)
        self.max_objects = 3 if config.variant == "train" else 6
        self.image_shape = (config.resolution, config.resolution, 3)
        side = 2 * (np.arange(config.resolution) + 0.5) / config.resolution - 1
        self._side = (_FIELD * side).astype(np.float32)

    @override
    def scene(self, key: Key[Array, ""]) -> dict[str, Any]:
        """One scene; see the class for its fields."""
        count = self.max_objects
        low, high = NUM_OBJECTS[self.config.variant]
        scene_key, object_key, place_key = jax.random.split(key, 3)
        draws = jax.random.uniform(scene_key, (12,))
        wanted = low + jnp.floor((high - low + 1) * draws[0]).astype(jnp.int32)
        eye, axes = _camera(draws[1:5])
        light = _light(draws[5:6])
        grounds = hsv_to_rgb(
            jnp.stack([draws[6:8], 0.3 + 0.4 * draws[8:10], 0.5 + 0.4 * draws[10:12]], axis=-1)
        )
        own = jax.random.uniform(object_key, (count, 6))
        if self.config.variant == "identical_color":
            own = own.at[:, 3:].set(own[:1, 3:])
        shape = jnp.floor(len(SHAPES) * own[:, 0]).astype(jnp.int32)
        radius = RADII[0] + (RADII[1] - RADII[0]) * own[:, 1]
        turn = 2 * np.pi * own[:, 2]
        color = hsv_to_rgb(own[:, 3:] * jnp.array([[1, 0.4, 0.4]]) + jnp.array([[0, 0.6, 0.6]]))
        place, fits = place_apart(_candidates(place_key, radius, eye, axes), radius)
        exists = fits & (jnp.arange(count) < wanted)
        height = jnp.asarray(_HALF[:, 2])[shape] * radius
        objects = {
            "center": jnp.concatenate([place, height[:, None]], axis=-1),
            "radius": radius,
            "turn": turn,
            "shape": shape,
        }
        right, down = self._side[None, :], self._side[:, None]
        rays = tuple(f + right * r - down * u for f, r, u in axes.T)
        objects |= {"exists": exists, "entity": 4 + jnp.arange(count)}
        canvas = _surroundings(tuple(eye), rays, tuple(light))
        meet = functools.partial(_meet, eye=tuple(eye), rays=rays, light=tuple(light))
        semantic, _, shade = jax.lax.scan(meet, canvas, objects)[0]
        sky = jnp.array([[0.55, 0.75, 0.95]])
        palette = jnp.concatenate([sky, grounds, grounds[1:], color])
        image = jnp.round(255 * palette[semantic] * shade[..., None]).astype(jnp.uint8)
        segmentation = jnp.maximum(semantic - 3, 0)
        visibility = (segmentation[None] == jnp.arange(1, count + 1)[:, None, None]).any(
            axis=(1, 2)
        )
        properties = {
            "shape": shape + 1,
            "position": place[:, ::-1],
            "radius": radius,
            "color": color,
        }
        return {
            "image": image,
            "segmentation": segmentation,
            "semantic": semantic,
            "properties": zero_unless(exists, properties),
            "visibility": visibility,
            "num_objects": visibility.sum().astype(jnp.int32),
        }


def _camera(draws: Float[Array, "4"]) -> tuple[Float[Array, "3"], Float[Array, "3 3"]]:
    """Where the eye is, and the rows forward, right and up of what it sees.

    It stands near the edge of the floor and looks past the middle, a little down.
    """
    around, aside, height, down = draws
    angle = 2 * np.pi * around
    eye = jnp.stack([1.7 * jnp.cos(angle), 1.7 * jnp.sin(angle), 0.9 + 0.3 * height])
    yaw = angle + np.pi + 0.5 * (aside - 0.5)
    pitch = -0.25 - 0.15 * down
    ahead = jnp.stack([jnp.cos(yaw), jnp.sin(yaw), jnp.zeros(())])
    right = jnp.stack([jnp.sin(yaw), -jnp.cos(yaw), jnp.zeros(())])
    upright = jnp.array([0.0, 0.0, 1.0])
    forward = jnp.cos(pitch) * ahead + jnp.sin(pitch) * upright
    up = jnp.cos(pitch) * upright - jnp.sin(pitch) * ahead
    return eye, jnp.stack([forward, right, up])


def _light(draws: Float[Array, "1"]) -> Float[Array, "3"]:
    """Direction to the light: high, from any side."""
    angle = 2 * np.pi * draws[0]
    return jnp.stack([0.5 * jnp.cos(angle), 0.5 * jnp.sin(angle), jnp.float32(np.sqrt(0.75))])


def _candidates(
    key: Key[Array, ""],
    radius: Float[Array, "m"],
    eye: Float[Array, "3"],
    axes: Float[Array, "3 3"],
) -> Float[Array, "m c 2"]:
    """Places on the floor that are wholly in the room and in view; NaN for draws that are not."""
    draws = jax.random.uniform(key, (2, len(radius), _CANDIDATES, 1))
    ahead = axes[0, :2] / jnp.linalg.norm(axes[0, :2])
    depth = 1.1 + 2.0 * draws[0]
    aside = (2 * draws[1] - 1) * (_FIELD * depth - radius[:, None, None])
    ahead, across, start = (x[None, None] for x in (ahead, axes[1, :2], eye[:2]))
    place = start + depth * ahead + aside * across
    inside = (abs(place) <= ROOM - radius[:, None, None]).all(axis=-1, keepdims=True)
    return jnp.where(inside, place, jnp.nan)


def _surroundings(eye: _Vector, rays: _Vector, light: _Vector) -> _Canvas:
    """Entity, distance and brightness of what is behind the objects."""
    # Where a ray leaves the square: the nearer of the two walls that it goes towards.
    walls = [
        jnp.where(step == 0, _FAR, (jnp.sign(step) * ROOM - begin) / jnp.where(step == 0, 1, step))
        for begin, step in zip(eye[:2], rays[:2], strict=True)
    ]
    wall = jnp.minimum(*walls)
    floor = jnp.where(rays[2] < 0, -eye[2] / jnp.minimum(rays[2], -1e-6), _FAR)
    half = jnp.where(eye[0] + wall * rays[0] < 0, WALLS[0], WALLS[1])
    facing = [-jnp.sign(step) * toward for step, toward in zip(rays[:2], light[:2], strict=True)]
    below = floor <= wall
    above = ~below & (eye[2] + wall * rays[2] > WALL_HEIGHT)
    facing_wall = jnp.where(walls[0] < walls[1], facing[0], facing[1])
    cosine = jnp.where(below, light[2], facing_wall)
    return (
        jnp.where(below, FLOOR, jnp.where(above, SKY, half)),
        jnp.where(above, _FAR, jnp.minimum(floor, wall)),
        jnp.where(above, 1.0, _lit(cosine)),
    )


def _lit(cosine: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """Brightness of a surface by the cosine between its normal and the light."""
    return 0.5 + 0.5 * jnp.maximum(cosine, 0)


def _into(vector: _Vector, cosine: Float[Array, ""], sine: Float[Array, ""]) -> _Vector:
    """A vector in the axes of an object that is turned about the vertical."""
    x, y, z = vector
    return cosine * x + sine * y, cosine * y - sine * x, z


def _meet(
    canvas: _Canvas, own: dict[str, Array], *, eye: _Vector, rays: _Vector, light: _Vector
) -> tuple[_Canvas, None]:
    """Puts an object on the canvas where it is nearer than what is there."""
    # Coordinate by coordinate, so that all of it is one loop over pixels.
    turn = jnp.cos(own["turn"]), jnp.sin(own["turn"])
    start = _into(tuple(a - b for a, b in zip(eye, own["center"], strict=True)), *turn)
    steps = _into(rays, *turn)
    half = jnp.asarray(_HALF)[own["shape"]] * own["radius"]
    spans = [_slab(*one) for one in zip(start, steps, half, strict=True)]
    # A ray is inside a solid where it is inside all that bounds it.
    bounds = [
        [_round(start, steps, half[0])],
        spans,
        [_round(start[:2], steps[:2], half[0]), spans[2]],
    ]
    kind = own["shape"]
    near = _of_kind(kind, [functools.reduce(jnp.maximum, (n for n, _ in one)) for one in bounds])
    far = _of_kind(kind, [functools.reduce(jnp.minimum, (f for _, f in one)) for one in bounds])
    entity, distance, shade = canvas
    met = (near < far) & (near > 0) & (near < distance) & own["exists"]
    x, y, z = (
        (begin + near * step) / size for begin, step, size in zip(start, steps, half, strict=True)
    )
    widest = jnp.maximum(jnp.maximum(abs(x), abs(y)), abs(z))
    cap = z * z > x * x + y * y
    # The normal, of any length: from the middle of a ball, across a face, from the axis of a tube.
    faces = [jnp.where(abs(a) >= widest, a, 0) for a in (x, y, z)]
    tube = [jnp.where(cap, 0, x), jnp.where(cap, 0, y), jnp.where(cap, z, 0)]
    normal = [_of_kind(kind, one) for one in zip((x, y, z), faces, tube, strict=True)]
    toward = sum(a * b for a, b in zip(normal, _into(light, *turn), strict=True))
    length = jnp.sqrt(sum(a * a for a in normal))
    return (
        jnp.where(met, own["entity"], entity),
        jnp.where(met, near, distance),
        jnp.where(met, _lit(toward / jnp.maximum(length, 1e-6)), shade),
    ), None


def _of_kind(kind: Int32[Array, ""], values: Sequence[Array]) -> Array:
    return jnp.where(kind == 0, values[0], jnp.where(kind == 1, values[1], values[2]))


def _slab(
    start: Float[Array, ""], step: Float[Array, "h w"], half: Float[Array, ""]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Where rays are between two planes."""
    step = jnp.where(abs(step) < 1e-6, 1e-6, step)
    one, other = (-half - start) / step, (half - start) / step
    return jnp.minimum(one, other), jnp.maximum(one, other)


def _round(
    start: Sequence[Float[Array, ""]], steps: Sequence[Float[Array, "h w"]], radius: Any
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Where rays are within a radius of the origin (of the axis); nowhere: near above far."""
    squared = sum(step * step for step in steps)
    middle = -sum(a * b for a, b in zip(start, steps, strict=True)) / squared
    inside = middle * middle - (sum(a * a for a in start) - radius * radius) / squared
    root = jnp.sqrt(jnp.maximum(inside, 0))
    return jnp.where(inside > 0, middle - root, _FAR), jnp.where(inside > 0, middle + root, -_FAR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoomConfig(ProceduralConfig):
    """Settings of `Room`."""

    variant: Variant = "train"
    resolution: int = 64
    """Side of the picture in pixels."""

    def __post_init__(self) -> None:
        """Raises ConfigError for a picture too small to show an object."""
        super().__post_init__()
        if self.resolution < 32:
            raise ConfigError(f"data.resolution={self.resolution} should be at least 32.")

    @override
    def make(self) -> Room:
        """The data set."""
        return Room(self)
