"""Multi-dSprites: dSprites shapes on a plain background, with occlusion, 64×64.

Generates the three variants of Kabra et al. 2019 ("Multi-Object Datasets"; used by Greff et al.
2019, IODINE) from the shapes of Matthey et al. 2017 (dSprites). Established from published frames:
the factor lattice, hard edges, the outlines (squares and ellipses to the pixel, hearts to about
1 %), later sprites on top. Recommended choices, since no public source settles them: uniform
numbers of sprites and factors, saturation and value uniform in [0.5, 1) for sprites on grey (with a
uniform hue this fits the published share of scenes without a bright green square, 0.817), uniform
grey levels and RGB, no least visible area, and `visibility` meaning "exists".
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Key, UInt32

from slots.config import ConfigError
from slots.data.procedural import (
    ProceduralConfig,
    ProceduralDataset,
    hsv_to_rgb,
    pack,
    unpack,
    zero_unless,
)

Variant = Literal["binarized", "colored_on_grayscale", "colored_on_colored"]

NUM_SPRITES = {"binarized": (2, 3), "colored_on_grayscale": (2, 5), "colored_on_colored": (1, 4)}
"""Least and most sprites of a scene."""
SCALES = np.linspace(0.5, 1.0, 6, dtype=np.float32)
ORIENTATIONS = np.linspace(0.0, 2 * np.pi, 40, dtype=np.float32)
"""Radians, counter-clockwise. Both ends are included, so the first and last look the same."""
POSITIONS = np.linspace(0.0, 1.0, 32, dtype=np.float32)
"""Centres; 0 is pixel coordinate 16 and 1 is 48."""
_SIZE = 64
_LEVELS = 4096  # steps of a colour draw: every product of the conversion from HSV is then exact
_REACH = 14  # pixels that a sprite can extend from its centre's pixel
_UNIT = 62  # lattice steps per pixel: centres are at multiples of 32/31, pixels at halves
_ONE, _SHIFT = 1 << 28, 14  # fixed-point 1, and the bits dropped before squaring

# Along the sprite's own axes; a heart's radii below are relative to its 12.
_HALF_WIDTHS = np.array([[9.6, 9.6], [12.75, 7.22], [12.0, 12.0]])
_HEART = np.hstack(
    [
        [9.24, 7.48, 6.85, 6.35, 6.08, 5.95, 5.94, 5.94, 6.14, 6.49, 6.88, 7.45, 8.10],
        [8.95, 9.57, 10.65, 10.80, 11.25, 11.28, 11.13, 10.78, 9.99, 8.96, 7.33, 5.19],
    ]
)
"""Radius at scale 1 in pixels, every 7.5° from the tip (below) to the notch."""
_TURNS = 4096  # table entries per quarter turn: less than 0.003 px from the exact radius


def _axes() -> Int32[np.ndarray, "3 6 40 4"]:
    """Fixed-point factors that take lattice steps (right, down) to the sprite's axes."""
    angle = np.linspace(0.0, 2 * np.pi, 40)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    widths = _HALF_WIDTHS.repeat(2, axis=1)[:, None, None] * np.linspace(0.5, 1, 6)[:, None, None]
    return np.round(turn * _ONE / (_UNIT * widths)).astype(np.int32)


def _heart_radii() -> Int32[np.ndarray, "n"]:
    """Squared radius by |u| / (|u| + |v|), a stand-in for the angle that needs no arctangent."""
    turn = (np.arange(2 * _TURNS + 1) + 0.5).clip(max=2 * _TURNS) / _TURNS
    degrees = np.degrees(np.arctan2(np.minimum(turn, 2 - turn), 1 - turn))
    radius = np.interp(degrees, np.linspace(0, 180, len(_HEART)), _HEART) / _HALF_WIDTHS[2, 0]
    return np.round((radius * (_ONE >> _SHIFT)) ** 2).astype(np.int32)


_AXES, _HEART_RADII = _axes(), _heart_radii()


def outline(
    shape: Int32[Array, ""],
    scale: Int32[Array, ""],
    orientation: Int32[Array, ""],
    x: Int32[Array, ""],
    y: Int32[Array, ""],
) -> tuple[Bool[Array, "w w"], Int32[Array, ""], Int32[Array, ""]]:
    """A sprite's pixels in a 29×29 window, and the window's first row and column.

    The factors are lattice indices from 0. A pixel belongs to the sprite if its centre does. The
    tests are on whole numbers: floats round differently on other devices, which flips pixels.
    """
    window = np.arange(2 * _REACH + 1, dtype=np.int32)
    x, y = 16 * _UNIT + 64 * x, 16 * _UNIT + 64 * y  # lattice index to lattice steps
    left, top = x // _UNIT - _REACH, y // _UNIT - _REACH
    right = _UNIT * (left + window) + _UNIT // 2 - x
    down = _UNIT * (top + window) + _UNIT // 2 - y
    axes = jnp.asarray(_AXES)[shape, scale, orientation]
    u = axes[0] * right[None, :] + axes[1] * down[:, None]
    v = axes[2] * right[None, :] + axes[3] * down[:, None]
    square = jnp.maximum(abs(u), abs(v)) <= _ONE

    half, limit = 1 << (_SHIFT - 1), (1 << 15) - 1  # two squares of at most the limit fit int32
    u = jnp.clip((u + half) >> _SHIFT, -limit, limit)
    v = jnp.clip((v + half) >> _SHIFT, -limit, limit)
    radius = u * u + v * v
    ellipse = radius <= (_ONE >> _SHIFT) ** 2
    total = jnp.maximum(abs(u) + abs(v), 1).astype(jnp.float32)
    turn = abs(u).astype(jnp.float32) / total
    turn = jnp.where(v < 0, 2 - turn, turn)
    heart = radius <= jnp.asarray(_HEART_RADII)[jnp.floor(turn * _TURNS).astype(jnp.int32)]
    return jnp.where(shape == 0, square, jnp.where(shape == 1, ellipse, heart)), top, left


def paint(
    sprites: Int32[Array, "5 m"], words: UInt32[Array, "m"], background: UInt32[Array, ""]
) -> UInt32[Array, "h w"]:
    """The canvas of sprites (rows shape, scale, orientation, x, y); later ones cover earlier ones.

    Args:
        sprites: lattice indices from 0.
        words: what to paint each with, as `pack` makes them; a 0 word paints nothing.
        background: the word of uncovered pixels.
    """
    inside, top, left = jax.vmap(outline)(*sprites)
    # A window's row as the bits of one word: placing it is then a shift, not 29 writes.
    bits = jnp.arange(inside.shape[-1], dtype=jnp.uint32)
    rows = jnp.sum(inside.astype(jnp.uint32) << bits.reshape(1, 1, -1), axis=-1, dtype=jnp.uint32)
    rows = jnp.pad(rows, ((0, 0), (0, 1)))  # an empty row for whatever is above or below
    pixels = np.arange(_SIZE, dtype=np.int32)

    def cover(canvas: UInt32[Array, "h w"], sprite: Any) -> tuple[UInt32[Array, "h w"], None]:
        rows, top, left, word = sprite
        down, right = pixels - top, pixels - left
        row = rows[jnp.where((down >= 0) & (down <= 2 * _REACH), down, -1)]
        bit = jnp.where((right >= 0) & (right < 31), right, 31).astype(jnp.uint32)  # 31: never set
        covered = (row[:, None] >> bit[None, :]) & 1 == 1
        return jnp.where(covered & (word != 0), word, canvas), None

    # A loop, though a short one: unrolled, XLA:CPU (jax 0.10) fuses it with whatever reads the
    # canvas and draws the outlines anew for every pixel.
    canvas = jnp.broadcast_to(background, (_SIZE, _SIZE))
    return jax.lax.scan(cover, canvas, (rows, top, left, words))[0]


def visible_pixels(segmentation: Int32[Array, "h w"], num_labels: int) -> Int32[Array, "m"]:
    """Pixels of labels 1 to `num_labels` (at most 5)."""
    # A row's counts share one word, 6 bits each (a sprite is 29 pixels wide at most): a sum per
    # label takes XLA:CPU (jax 0.10) ten times as long.
    one = jnp.uint32(1) << (6 * jnp.maximum(segmentation - 1, 0)).astype(jnp.uint32)
    rows = jnp.sum(jnp.where(segmentation > 0, one, 0), axis=1, dtype=jnp.uint32)
    counts = [jnp.sum((rows >> 6 * i) & 63, dtype=jnp.uint32) for i in range(num_labels)]
    return jnp.stack(counts).astype(jnp.int32)


def factors(
    key: Key[Array, ""], variant: Variant, unique_orientations: bool = False
) -> tuple[Int32[Array, "5 m"], Float[Array, "m c"], Float[Array, "c"], Int32[Array, ""]]:
    """Draws what a scene shows, without drawing it.

    Returns:
        Sprites as lattice indices from 0 (rows shape, scale, orientation, x, y), their colours in
        [0, 1], the background's colour, and how many of the M sprites exist.
    """
    least, most = NUM_SPRITES[variant]
    draws = jax.random.uniform(key, (8, most + 1))
    choices = jnp.array([[3.0], [6.0], [39.0 if unique_orientations else 40.0], [32.0], [32.0]])
    sprites = jnp.floor(draws[:5, 1:] * choices).astype(jnp.int32)
    levels = jnp.floor(draws[5:].T * _LEVELS) / _LEVELS  # row 0 is the background's
    count = least + jnp.floor(draws[0, 0] * (most - least + 1)).astype(jnp.int32)
    if variant == "binarized":
        return sprites, jnp.ones((most, 1)), jnp.zeros(1), count
    if variant == "colored_on_colored":
        return sprites, levels[1:], levels[0], count
    hue, half = levels[1:, :1], 0.5 + 0.5 * levels[1:, 1:]
    return sprites, hsv_to_rgb(jnp.concatenate([hue, half], -1)), levels[0, :1].repeat(3), count


class MultiDSprites(ProceduralDataset):
    """Scenes of up to M sprites, labelled in drawing order; later ones cover earlier ones.

    M is 3 (`binarized`), 5 (`colored_on_grayscale`) or 4 (`colored_on_colored`). A scene has
    `image` uint8 [64, 64, c], `segmentation` int32 [64, 64] in 0 to M, `visibility` bool [M] (the
    sprite exists, though it may be covered), `num_objects` int32 and the properties of M sprites,
    zero where one does not exist:

    - `shape` int32 [M]: 1 square, 2 ellipse, 3 heart (2 and 3 in the order of dSprites);
    - `scale` float32 [M], 0.5 to 1; `orientation` float32 [M], radians in [0, 2π];
    - `x`, `y` float32 [M] in [0, 1]: centres, pixel coordinates 16 + 32x and 16 + 32y;
    - `color` float32 [M, c] in [0, 1], as many channels as the picture;
    - `visible_px` float32 [M] (integers are classes): pixels of the label; 0 for a sprite that is
      covered completely.
    """

    def __init__(self, config: "MultiDSpritesConfig") -> None:
        super().__init__(config)
        self.max_objects = NUM_SPRITES[config.variant][1]
        self._variant, self._unique = config.variant, config.unique_orientations
        self._channels = 1 if config.variant == "binarized" and not config.to_rgb else 3
        self.image_shape = (_SIZE, _SIZE, self._channels)

    def scene(self, key: Key[Array, ""]) -> dict[str, Any]:
        """One scene; see the class for its fields."""
        sprites, color, background, count = factors(key, self._variant, self._unique)
        exists = jnp.arange(self.max_objects) < count
        rgb = jnp.concatenate([background[None], color])
        # `round` and not `floor(c + 0.5)`, which some devices round once and others twice.
        levels = jnp.round(255.0 * jnp.broadcast_to(rgb, (len(rgb), 3))).astype(jnp.uint32)
        words = jnp.where(exists, pack(levels[1:]), 0)
        image, segmentation = unpack(paint(sprites, words, pack(levels[:1])[0] & 0xFFFFFF))
        shape, scale, orientation, x, y = sprites
        properties = {
            "shape": shape + 1,
            "scale": jnp.asarray(SCALES)[scale],
            "orientation": jnp.asarray(ORIENTATIONS)[orientation],
            "x": jnp.asarray(POSITIONS)[x],
            "y": jnp.asarray(POSITIONS)[y],
            "color": jnp.broadcast_to(color, (self.max_objects, self._channels)),
            "visible_px": jnp.float32(visible_pixels(segmentation, self.max_objects)),
        }
        return {
            "image": image[..., : self._channels],
            "segmentation": segmentation,
            "properties": zero_unless(exists, properties),
            "visibility": exists,
            "num_objects": count,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiDSpritesConfig(ProceduralConfig):
    """Settings of `MultiDSprites`."""

    variant: Variant = "colored_on_grayscale"
    """The default is the one with up to five sprites, on which most results are reported."""
    unique_orientations: bool = False
    """Draws from 39 angles, without the repeated one; the published sets repeat it."""
    to_rgb: bool = False
    """Repeats the grey channel of `binarized`, for models with three input channels."""

    def __post_init__(self) -> None:
        """Raises ConfigError for `to_rgb` where the picture is in colour already."""
        super().__post_init__()
        if self.to_rgb and self.variant != "binarized":
            raise ConfigError(
                f"data.to_rgb=true should go with data.variant='binarized', got {self.variant!r}."
            )

    def make(self) -> MultiDSprites:
        """The data set."""
        return MultiDSprites(self)
