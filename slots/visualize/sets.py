"""Predicted sets of objects, in words beside the picture."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from slots.properties import PropertyLayout
from slots.visualize.arrays import Array, check_axes, to_rgb
from slots.visualize.canvas import TEXT, draw, image_grid, plain_style

if TYPE_CHECKING:
    import matplotlib.figure

_WRONG = "#b2182b"


def predicted_sets(
    images: Array, found: Array, right: Array, layout: PropertyLayout
) -> "matplotlib.figure.Figure":
    """A row for each scene: the picture, and the objects predicted in it, the surest first.

    A line says how sure the model is, the object's classes and its position in the range of the
    vectors; wrong ones are red and crossed. What is less sure than ½ is left out.

    Args:
        images: [B, H, W, C], floats in [0, 1] or uint8, C = 1 or 3.
        found: [B, K, P] predictions.
        right: bool [B, K], for which of them count as hits.
        layout: of the vectors.

    Raises:
        ValueError: a shape does not fit.
    """
    pictures = to_rgb("images", images, "scenes H W C")
    scenes, height, width = pictures.shape[:3]
    vectors = check_axes("found", found, f"{scenes} K {layout.width}")
    hits = check_axes("right", right, f"{scenes} {vectors.shape[1]}").astype(bool)
    with plain_style():
        figure, axes = image_grid((scenes, 3), height / width)
        for row, picture, predictions, good in zip(axes, pictures, vectors, hits, strict=True):
            draw(row[0], picture)
            for number, (text, fits) in enumerate(_lines(predictions, good, layout)):
                # It runs on into the third cell, which is empty for it.
                row[1].text(
                    0,
                    0.97 - number * 0.16,
                    f"{'✓' if fits else '✗'} {text}",
                    transform=row[1].transAxes,
                    color=TEXT if fits else _WRONG,
                    va="top",
                    size=8,
                )
        return figure


def _lines(
    predictions: Float[np.ndarray, "k p"], right: Bool[np.ndarray, "k"], layout: PropertyLayout
) -> list[tuple[str, bool]]:
    """Text of each prediction that is more likely than not, and whether it is right."""
    lines = []
    for k in np.argsort(-predictions[:, -1], kind="stable"):
        one = predictions[k]
        if not one[-1] > 0.5:
            continue
        classes = [names[one[layout.spans[name]].argmax()] for name, names in layout.categories]
        place = ", ".join(f"{x:.2f}" for x in one[layout.spans["position"]])
        lines.append((f"{100 * one[-1]:.0f} % {' '.join(classes)} ({place})", bool(right[k])))
    return lines
