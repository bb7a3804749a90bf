"""How attention settles over the iterations of a slot module."""

import math
from typing import TYPE_CHECKING

import numpy as np

from slots.visualize.arrays import Array, check_axes, to_masks, to_rgb
from slots.visualize.canvas import draw, frame, image_grid, note, plain_style
from slots.visualize.colors import hex_colors, tint

if TYPE_CHECKING:
    import matplotlib.figure


def attention_iterations(
    image: Array, attention: Array, *, grid: tuple[int, int] | None = None
) -> "matplotlib.figure.Figure":
    """A row for each iteration: who owns which token, then every slot's attention.

    Args:
        image: [H, W, C], floats in [0, 1] or uint8, C = 1 or 3.
        attention: [R, K, N], or [R, K, h, w], over R iterations; sums to 1 over K.
        grid: (rows, columns) of the N tokens; may be left out where the tokens form a square.

    Raises:
        ValueError: a shape does not fit, or the tokens do not tile the grid.
    """
    picture = to_rgb("image", image, "H W C")
    if attention.ndim == 3:
        weights = to_masks("attention", attention, "iterations slots tokens")
        rows, columns = grid or (math.isqrt(weights.shape[2]),) * 2
        if rows * columns != weights.shape[2]:
            raise ValueError(
                f"`grid`={grid or 'None (square)'} does not hold the {weights.shape[2]} tokens of "
                "`attention`."
            )
        weights = weights.reshape(*weights.shape[:2], rows, columns)
    else:
        weights = to_masks("attention", attention, "iterations slots h w")
    finite = np.isfinite(check_axes("attention", attention, " ".join("x" * attention.ndim))).all()
    iterations, count = weights.shape[:2]
    with plain_style():
        figure, axes = image_grid(
            (iterations, count + 1),
            picture.shape[0] / picture.shape[1],
            titles=["strongest slot", *(f"slot {k}" for k in range(count))],
            colors=[None, *hex_colors(count)],
            row_titles=[f"iteration {r + 1}" for r in range(iterations)],
            footer=True,
            width=1.2,
        )
        for r, row in enumerate(axes):
            draw(row[0], tint(picture, weights[r].argmax(axis=0) + 1))
            for k, cell in enumerate(row[1:]):
                cell.imshow(weights[r, k], cmap="magma", vmin=0, vmax=1, aspect="auto")
                frame(cell)
        ends = "attention: black 0, light yellow 1"
        note(figure, ends if finite else f"{ends}; not all finite")
        return figure
