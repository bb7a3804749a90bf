"""The frames that slots carry, drawn on the pictures."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from slots.visualize.arrays import Array, check_axes, to_masks, to_rgb
from slots.visualize.canvas import draw, image_grid, legend, plain_style
from slots.visualize.colors import hex_colors, tint

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_SMALLEST = 0.04
"""Shortest arrow, in picture widths: a frame of one token would not be seen."""


def frame_overlay(
    images: Array,
    masks: Array,
    position: Array,
    scale: Array | None = None,
    rotation: Array | None = None,
    *,
    background: int | None = None,
    columns: int = 4,
) -> "matplotlib.figure.Figure":
    """Pictures washed with their masks, and on them the frame of each slot that owns a pixel.

    A dot marks the position; arrows as long as the scale point along the frame's axes (the first,
    x, is thick); the ellipse is one standard deviation of the slot's attention.

    Args:
        images: [B, H, W, C], floats in [0, 1] or uint8, C = 1 or 3.
        masks: [B, M, h, w] in [0, 1]; M = K, or K + 1 with a background.
        position: [B, K, 2] as (y, x) in [-1, 1], the middles of the corner pixels being -1 and 1.
        scale: [B, K, 2] per axis of the frame, (y, x); without it only the dot is drawn.
        rotation: [B, K, 2, 2], the frame's axes as columns in (x, y) order; upright without it.
        background: component of `masks` that is no slot and stays grey; only -1, the last.
        columns: pictures in a row.

    Raises:
        ValueError: a shape does not fit.
    """
    pictures = to_rgb("images", images, "scenes H W C")
    scenes = len(pictures)
    weights = to_masks("masks", masks, f"{scenes} M h w")
    slots = weights.shape[1] - (background is not None)
    if background not in (None, -1):
        raise ValueError(f"`background`={background} should be None or -1: slots come first.")
    centers = check_axes("position", position, f"{scenes} {slots} 2")
    lengths = None if scale is None else check_axes("scale", scale, f"{scenes} {slots} 2")
    turned = np.broadcast_to(np.eye(2), (scenes, slots, 2, 2))
    if rotation is not None:
        turned = check_axes("rotation", rotation, f"{scenes} {slots} 2 2")
    labels = np.arange(1, weights.shape[1] + 1)
    if background is not None:
        labels[-1] = 0
    owners = labels[weights.argmax(axis=1)]
    columns = min(columns, scenes)
    colors = hex_colors(slots)
    with plain_style():
        aspect = pictures.shape[1] / pictures.shape[2]
        shape = (-(-scenes // columns), columns)
        figure, axes = image_grid(shape, aspect, footer=True, width=2.6)
        for i, cell in enumerate(axes.flat):
            if i >= scenes:
                cell.remove()
                continue
            washed = tint(pictures[i], owners[i])
            draw(cell, washed)
            cell.set(xlim=cell.get_xlim(), ylim=cell.get_ylim())  # arrows may point outside
            half = (np.array(washed.shape[1::-1]) - 1) / 2  # (x, y) of the middle, in pixels
            for k in np.unique(owners[i][owners[i] > 0]) - 1:
                length = None if lengths is None else lengths[i, k, ::-1]
                _draw_frame(cell, centers[i, k, ::-1], length, turned[i, k], half, colors[k])
        legend(figure, "slot", [str(k) for k in range(slots)], colors)
        return figure


def _draw_frame(
    axes: "matplotlib.axes.Axes",
    center: Float[np.ndarray, "2"],
    scale: Float[np.ndarray, "2"] | None,
    rotation: Float[np.ndarray, "2 2"],
    half: Float[np.ndarray, "2"],
    color: str,
) -> None:
    """One frame, everything in (x, y); `half` is the picture's half size in pixels."""
    from matplotlib.patheffects import withStroke

    # White with a dark edge is seen on any wash; the dot says whose frame it is.
    edge = [withStroke(linewidth=3.0, foreground="#222222")]
    middle = (center + 1) * half
    axes.plot(*middle, "o", color=color, markersize=6, markeredgecolor="white", zorder=4)
    if scale is None:
        return
    angles = np.linspace(0, 2 * np.pi, 49)
    circle = rotation @ (scale[:, None] * np.stack([np.cos(angles), np.sin(angles)]))
    ring = (center[:, None] + circle + 1) * half[:, None]
    axes.plot(*ring, color="white", linewidth=1.0, path_effects=edge, zorder=2)
    for axis, width in ((0, 1.8), (1, 0.9)):
        arm = rotation[:, axis] * max(float(scale[axis]), _SMALLEST)
        axes.annotate(
            "",
            (center + arm + 1) * half,
            middle,
            arrowprops={
                "arrowstyle": "-|>",
                "color": "white",
                "linewidth": width,
                "mutation_scale": 7,
                "shrinkA": 0,
                "shrinkB": 0,
                "path_effects": edge,
            },
            zorder=3,
        )
