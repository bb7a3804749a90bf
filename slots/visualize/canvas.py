"""Figures laid out by hand: cells of a fixed size in inches, so that no text ever overlaps."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

TEXT = "#222222"
_GAP, _MARGIN, _LINE, _BAR = 0.06, 0.12, 0.21, 0.08  # inches


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own style, whatever the user's settings: dark text on white."""
    import matplotlib.style

    with matplotlib.style.context("default"):
        yield


def image_grid(
    shape: tuple[int, int],
    aspect: float,
    *,
    titles: Sequence[str] = (),
    colors: Sequence[str | None] = (),
    row_titles: Sequence[str] = (),
    captions: bool = False,
    footer: bool = False,
    width: float = 1.35,
) -> tuple["matplotlib.figure.Figure", np.ndarray]:
    """An empty grid of picture cells.

    Args:
        shape: rows and columns.
        aspect: height of a picture over its width.
        titles: one above each column; none if empty.
        colors: of a bar under each title; no bar where absent or None.
        row_titles: one to the left of each row, written upwards; none if empty.
        captions: leave a line under each row of cells.
        footer: leave a line at the bottom.
        width: of a cell, in inches.

    Returns:
        The figure and its axes [rows, columns], without ticks or frames.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows, columns = shape
    height = width * aspect
    pitch = height + _GAP + _LINE * captions
    left = _MARGIN + _LINE * bool(row_titles)
    top = _MARGIN + _LINE * bool(titles) + _BAR * bool(colors)
    full_width = left + columns * (width + _GAP) - _GAP + _MARGIN
    full_height = top + rows * pitch + _MARGIN - _GAP + _LINE * 1.3 * footer
    figure = Figure(figsize=(full_width, full_height), facecolor="white", dpi=100)
    axes = np.empty(shape, object)
    for row, column in np.ndindex(shape):
        x, y = left + column * (width + _GAP), full_height - top - row * pitch - height
        box = (x / full_width, y / full_height, width / full_width, height / full_height)
        axes[row, column] = cell = figure.add_axes(box)
        cell.set_axis_off()
        if row == 0 and titles:
            above = y + height + _BAR * bool(colors)
            place = ((x + width / 2) / full_width, (above + 0.06) / full_height)
            figure.text(*place, titles[column], ha="center", va="bottom", color=TEXT, size=9)
        if row == 0 and column < len(colors) and colors[column]:
            corner = (box[0], (y + height + 0.04) / full_height)
            bar = Rectangle(corner, box[2], 0.05 / full_height, color=colors[column], lw=0)
            figure.add_artist(bar)
        if column == 0 and row_titles:
            place = ((left - 0.06) / full_width, (y + height / 2) / full_height)
            text = row_titles[row]
            figure.text(*place, text, ha="right", va="center", rotation=90, color=TEXT, size=9)
    return figure, axes


def draw(axes: "matplotlib.axes.Axes", image: Float[np.ndarray, "h w 3"]) -> None:
    """A picture with a hair-thin frame; pixels that are not finite are grey, and it says so."""
    finite = np.isfinite(image).all(-1, keepdims=True)
    axes.imshow(np.where(finite, image, 0.6), interpolation="nearest", aspect="auto")
    frame(axes)
    if not finite.all():
        axes.text(
            0.5, 0.5, "not finite", ha="center", va="center", transform=axes.transAxes, size=9
        )


def frame(axes: "matplotlib.axes.Axes") -> None:
    """A thin line around the cell, so that white pictures end somewhere."""
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#bbbbbb", linewidth=0.5)


def caption(axes: "matplotlib.axes.Axes", text: str) -> None:
    """A line of small text under a cell."""
    axes.text(0.5, -0.03, text, ha="center", va="top", transform=axes.transAxes, size=8, color=TEXT)


def note(figure: "matplotlib.figure.Figure", text: str) -> None:
    """Small text in the footer."""
    figure.text(0.5, 0.08 / figure.get_figheight(), text, ha="center", size=8, color=TEXT)


def legend(
    figure: "matplotlib.figure.Figure", title: str, names: Sequence[str], colors: Sequence[str]
) -> None:
    """Coloured squares in the footer; left out where they are too many to read."""
    from matplotlib.patches import Patch

    if len(names) > 16:
        return
    handles = [Patch(color=color, label=name) for name, color in zip(names, colors, strict=True)]
    handles.insert(0, Patch(color="none", label=title))
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.02 / figure.get_figheight()),
        ncol=len(handles),
        frameon=False,
        fontsize=8,
        handlelength=0.9,
        handleheight=0.9,
        handletextpad=0.35,
        columnspacing=0.9,
        borderpad=0.0,
    )
