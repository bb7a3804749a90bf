"""Tetrominoes: three coloured pieces of four square cells each on a black 35×35 picture.

Generates scenes by the rules of the set of Kabra et al. 2019 ("Multi-Object Datasets") that Greff
et al. 2019 (IODINE) introduced. Established from published scenes: picture size, cell shading,
free pixel positions, no overlap, six colours. Recommended choices, since no public source settles
them: the order in which pieces are redrawn (it reproduces the published share of scenes without an
S or Z piece, 0.503), the numbering of shapes (only 11 to 14 = S and Z is known) and of colours
(only 2 = green is known), and the reference point of `x` and `y`.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Key, UInt32

from slots.data.procedural import ProceduralConfig, ProceduralDataset, pack, unpack

SHAPES = [
    *["####", "#/#/#/#"],  # I
    *["#./#./##", "###/#..", "##/.#/.#", "..#/###"],  # L
    *[".#/.#/##", "#../###", "##/#./#.", "###/..#"],  # J
    *[".##/##.", "#./##/.#"],  # S
    *["##./.##", ".#/##/#."],  # Z
    *[".#./###", "#./##/#.", "###/.#.", ".#/##/.#"],  # T
    *["##/##"],  # O
]
"""The 19 fixed tetrominoes, rows from top to bottom; the code of a shape is its place, from 1."""
COLORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
"""RGB of codes 1 to 6: red, green, blue, yellow, magenta, cyan."""
SHADES = {
    "published": np.array(
        [
            [191, 255, 255, 255, 223],
            [127, 159, 159, 159, 191],
            [127, 159, 159, 159, 191],
            [127, 159, 159, 159, 191],
            [95, 63, 63, 63, 127],
        ],
        np.uint32,
    ),
    "flat": np.full((5, 5), 255, np.uint32),
}
"""Brightness of a cell's pixels, the same in every cell: a bevelled block, or none."""

_SIZE, _CELL, _PIECES = 35, 5, 3
_CANDIDATES = 128  # none of them fits the third piece in 3 of 10^8 scenes

_CELLS = np.array(
    [
        [(r, c) for r, row in enumerate(s.split("/")) for c, mark in enumerate(row) if mark == "#"]
        for s in SHAPES
    ],
    np.int32,
)  # [shape, cell, (row, column)]
_PLACES = _SIZE + 1 - _CELL * (_CELLS.max(axis=1) + 1)  # [shape, (rows, columns)] a corner can take


def _collisions() -> Bool[np.ndarray, "s s d d"]:
    """Whether two shapes overlap when the first lies (row, column) - 20 pixels from the second.

    Farther apart than four cells no two pieces meet. One lookup replaces sixteen cell comparisons.
    """
    reach = np.arange(-4 * _CELL, 4 * _CELL + 1)
    apart = _CELL * (_CELLS[:, None, :, None] - _CELLS[None, :, None, :])  # [s, s, cell, cell, 2]
    near = abs(apart[..., None] + reach) < _CELL
    rows, columns = np.moveaxis(near, -2, 0).reshape(2, len(SHAPES), len(SHAPES), 16, -1)
    return np.einsum("abkr,abkc->abrc", rows.astype(np.int8), columns.astype(np.int8)) > 0


_COLLIDES = _collisions()
_FRACTIONS = np.arange(_SIZE, dtype=np.float32) / _SIZE  # looked up: devices round division apart


def _candidates(key: Key[Array, ""], count: int) -> Int32[Array, "4 n"]:
    """Pieces anywhere in the picture, as rows shape, colour (from 0), row and column (pixels).

    Shape and colour are uniform, and the place is uniform among those the shape can take.
    """
    draws = jax.random.uniform(key, (2, count))
    kind = jnp.floor(draws[0] * (len(SHAPES) * len(COLORS))).astype(jnp.int32)
    shape, color = kind // len(COLORS), kind % len(COLORS)
    rows, columns = jnp.asarray(_PLACES)[shape].astype(jnp.float32).T
    place = jnp.floor(draws[1] * (rows * columns))
    row = jnp.floor((place + 0.5) / columns)  # the half keeps rounding away from whole numbers
    column = place - row * columns
    return jnp.stack([shape, color, row.astype(jnp.int32), column.astype(jnp.int32)])


def _free(candidates: Int32[Array, "4 n"], placed: Int32[Array, "4"]) -> Bool[Array, "n"]:
    """Which candidates do not overlap a placed piece."""
    reach = 4 * _CELL
    apart = jnp.clip(candidates[2:] - placed[2:, None], -reach, reach) + reach
    return ~jnp.asarray(_COLLIDES)[candidates[0], placed[0], apart[0], apart[1]]


def place(key: Key[Array, ""]) -> Int32[Array, "4 3"]:
    """Three pieces without overlap, in order of placement: shape, colour, row and column.

    Codes count from 0; row and column (pixels) are those of the bounding box's top-left corner. A
    piece that does not fit is redrawn as a whole (shape, colour and place), so shapes that fit
    more easily are a little more frequent.
    """

    def attempt(number: Int32[Array, ""]) -> tuple[Int32[Array, "4 3"], Bool[Array, ""]]:
        drawn = _candidates(jax.random.fold_in(key, number), 1 + 2 * _CANDIDATES)
        first = drawn[:, 0]
        seconds, thirds = drawn[:, 1 : 1 + _CANDIDATES], drawn[:, 1 + _CANDIDATES :]
        free = _free(seconds, first)
        i = jnp.argmax(free)  # the first that fits
        second = seconds[:, i]
        free_too = _free(thirds, first) & _free(thirds, second)
        j = jnp.argmax(free_too)
        return jnp.stack([first, second, thirds[:, j]], axis=1), free[i] & free_too[j]

    # One round in all but a few scenes of 10^8; those start over with other candidates.
    _, pieces, _ = jax.lax.while_loop(
        lambda carry: ~carry[2],
        lambda carry: (carry[0] + 1, *attempt(carry[0])),
        (jnp.int32(0), jnp.zeros((4, _PIECES), jnp.int32), jnp.array(False)),
    )
    return pieces


def paint(pieces: Int32[Array, "4 3"], shades: UInt32[np.ndarray, "5 5"]) -> UInt32[Array, "h w"]:
    """The 35×35 canvas of `place`d pieces, in words of `pack`."""
    shape, color, row, column = pieces
    corners = jnp.stack([row, column], axis=-1)[:, None] + _CELL * jnp.asarray(_CELLS)[shape]
    within = np.arange(_CELL, dtype=np.int32)
    rows = corners[..., 0, None, None] + within.reshape(1, 1, -1, 1)
    columns = corners[..., 1, None, None] + within.reshape(1, 1, 1, -1)
    # A channel is all of the brightness or none, so the colour acts as a mask of the grey word.
    masks = pack(jnp.asarray(COLORS, jnp.uint32)[color] * 255)
    words = masks[:, None, None] & jnp.asarray(shades * 0x010101 | 0xFF000000)[None]
    words = jnp.broadcast_to(words[:, None], (_PIECES, 4, _CELL, _CELL))
    canvas = jnp.zeros((_SIZE, _SIZE), jnp.uint32)
    return canvas.at[rows, columns].set(words, unique_indices=True, mode="promise_in_bounds")


class Tetrominoes(ProceduralDataset):
    """Scenes of three pieces, all visible, labelled in order of placement.

    A scene has `image` uint8 [h, w, 3], `segmentation` int32 [h, w] in 0 to 3, `visibility` bool
    [3], `num_objects` int32 and the properties of the three pieces:

    - `shape` int32 [3], 1 to 19 (see `SHAPES`); `color_code` int32 [3], 1 to 6;
    - `color` float32 [3, 3], RGB of the unshaded piece in [0, 1];
    - `x`, `y` float32 [3]: column and row of the top-left pixel of the piece's bounding box in
      the uncropped picture, divided by 35. The published files do not say what theirs refer to,
      so numbers of a regression on them are not comparable.
    """

    max_objects = _PIECES

    def __init__(self, config: "TetrominoesConfig") -> None:
        super().__init__(config)
        self.image_shape = (config.resolution, config.resolution, 3)
        self._shades = SHADES[config.shading]
        start = (_SIZE - config.resolution) // 2
        self._crop = slice(start, start + config.resolution)

    def scene(self, key: Key[Array, ""]) -> dict[str, Any]:
        """One scene; see the class for its fields."""
        pieces = place(key)
        image, segmentation = unpack(paint(pieces, self._shades)[self._crop, self._crop])
        shape, color, row, column = pieces
        return {
            "image": image,
            "segmentation": segmentation,
            "properties": {
                "shape": shape + 1,
                "color": jnp.asarray(COLORS)[color],
                "color_code": color + 1,
                "x": jnp.asarray(_FRACTIONS)[column],
                "y": jnp.asarray(_FRACTIONS)[row],
            },
            "visibility": jnp.ones(_PIECES, bool),
            "num_objects": jnp.int32(_PIECES),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TetrominoesConfig(ProceduralConfig):
    """Settings of `Tetrominoes`."""

    shading: Literal["published", "flat"] = "published"
    """`flat` fills every cell with the pure colour: an easier set, for debugging."""
    resolution: Literal[35, 32] = 35
    """32 crops the centre, as some later systems do; pieces at the border lose pixels."""

    def make(self) -> Tetrominoes:
        """The data set."""
        return Tetrominoes(self)
