"""Figures of what slots see. Arrays in, `matplotlib.figure.Figure` or a page's `Gallery` out.

Nothing here knows models or runs, draws on a screen or keeps a figure open: write the result with
`figure.savefig(path, dpi=150)`, or let it end a notebook cell (after `%matplotlib inline`, without
which notebooks print a figure's size). Matplotlib is imported by the first figure, not before.
"""

from slots.visualize.attention import attention_iterations
from slots.visualize.colors import slot_colors, tint
from slots.visualize.curves import training_curves
from slots.visualize.frames import frame_overlay
from slots.visualize.gallery import Gallery, slot_gallery
from slots.visualize.scenes import reconstruction_grid, segmentation_overlay, slot_parts
from slots.visualize.sets import predicted_sets

__all__ = [
    "Gallery",
    "attention_iterations",
    "frame_overlay",
    "predicted_sets",
    "reconstruction_grid",
    "segmentation_overlay",
    "slot_colors",
    "slot_gallery",
    "slot_parts",
    "tint",
    "training_curves",
]
