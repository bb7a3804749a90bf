"""Scenes side by side: pictures, label maps, reconstructions and what each slot drew."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from slots.visualize.arrays import (
    Array,
    check_axes,
    to_labels,
    to_masks,
    to_rgb,
)
from slots.visualize.canvas import caption, draw, frame, image_grid, legend, plain_style
from slots.visualize.colors import tint
from slots.visualize.components import like_slots, named_components, owner_labels

if TYPE_CHECKING:
    import matplotlib.figure


def segmentation_overlay(
    images: Array,
    labels: Array,
    *,
    ignore: Array | None = None,
    columns: int = 6,
    pictures: bool = False,
) -> "matplotlib.figure.Figure":
    """Pictures in grey, each labelled region washed and outlined with its colour.

    Args:
        images: [B, H, W, C], floats in [0, 1] or uint8, C = 1 or 3.
        labels: integers [B, Hs, Ws] of any size; 0 = background, label i + 1 has colour i.
        ignore: bool [B, Hs, Ws]; True where pixels do not count, which are striped.
        columns: pictures in a row.
        pictures: draws each row of pictures as they are above the row of their overlays.

    Raises:
        ValueError: a shape does not fit; labels are not integers from 0 up.
    """
    scenes = to_rgb("images", images, "scenes H W C")
    label_maps = to_labels("labels", labels, f"{len(scenes)} Hs Ws")
    hidden: list[np.ndarray | None] = [None] * len(scenes)
    if ignore is not None:
        shape = "{} {} {}".format(*label_maps.shape)
        hidden = list(check_axes("ignore", ignore, shape).astype(bool))
    columns, high = min(columns, len(scenes)), 2 if pictures else 1
    rows = -(-len(scenes) // columns)
    with plain_style():
        figure, axes = image_grid((rows * high, columns), _aspect(scenes))
        for i, cell in enumerate(axes[high - 1 :: high].flat):
            if i < len(scenes):
                draw(cell, tint(scenes[i], label_maps[i], hidden[i]))
            else:
                cell.remove()
        for i, cell in enumerate(axes[::2].flat if pictures else ()):
            if i < len(scenes):
                draw(cell, scenes[i])
            else:
                cell.remove()
        return figure


def reconstruction_grid(
    images: Array,
    reconstructions: Array,
    masks: Array,
    *,
    segmentation: Array | None = None,
    background: int | None = None,
) -> "matplotlib.figure.Figure":
    """A row for each scene: input, true objects, reconstruction, predicted masks, error.

    Predicted masks are drawn as the component that owns most of each pixel. A true object has the
    colour of the slot that covers most of it, each slot being used once (largest overlaps first).

    Args:
        images: [B, H, W, C], floats in [0, 1] or uint8, C = 1 or 3.
        reconstructions: [B, H, W, C] in the images' range.
        masks: [B, M, h, w] in [0, 1], of any size.
        segmentation: true labels, integers [B, Hs, Ws], 0 = background; adds a column.
        background: component of `masks` that is no object and stays grey; -1 for the last.

    Raises:
        ValueError: a shape does not fit, or there is no such component.
    """
    pictures = to_rgb("images", images, "scenes H W C")
    drawn = to_rgb("reconstructions", reconstructions, "{} {} {} C".format(*pictures.shape))
    weights = to_masks("masks", masks, f"{len(pictures)} M h w")
    names, colors = named_components(weights.shape[1], background)
    own = owner_labels(weights, background)
    error = np.abs(pictures - drawn).mean(axis=-1)
    largest = float(np.nan_to_num(error).max()) or 1.0
    titles = ["input", "reconstruction", "predicted masks", f"error (white = {largest:.2g})"]
    truth = None
    if segmentation is not None:
        truth = to_labels("segmentation", segmentation, f"{len(pictures)} Hs Ws")
        titles.insert(1, "true objects")
    with plain_style():
        shape = (len(pictures), len(titles))
        figure, axes = image_grid(shape, _aspect(pictures), titles=titles, footer=True)
        for i, row in enumerate(axes):
            cells = iter(row)
            draw(next(cells), pictures[i])
            if truth is not None:
                draw(next(cells), tint(pictures[i], like_slots(truth[i], own[i])))
            draw(next(cells), drawn[i])
            draw(next(cells), tint(pictures[i], own[i]))
            cell = next(cells)
            cell.imshow(error[i], cmap="gray", vmin=0, vmax=largest, aspect="auto")
            frame(cell)
        legend(figure, "slot", [name.removeprefix("slot ") for name in names], colors)
        return figure


def slot_parts(
    images: Array | None, parts: Array, masks: Array, *, background: int | None = None
) -> "matplotlib.figure.Figure":
    """A row for each scene: input, reconstruction, and each component's drawing where it shows.

    A drawing is mixed with a checkerboard by its mask. Under it stands its share of the picture's
    pixels, the mean of the mask; a slot that takes no part has none at all.

    Args:
        images: [B, H, W, C], floats in [0, 1] or uint8, C = 1 or 3. None: scenes are drawn from
            nothing, and stand alone where the reconstruction would.
        parts: [B, M, H, W, C] in the images' range, what each component draws alone.
        masks: [B, M, H, W] in [0, 1], summing to 1 over M.
        background: component that is called so; -1 for the last.

    Raises:
        ValueError: a shape does not fit, or there is no such component.
    """
    pictures = None if images is None else to_rgb("images", images, "scenes H W C")
    shape = "scenes M H W C" if pictures is None else "{} M {} {} C".format(*pictures.shape)
    drawn = to_rgb("parts", parts, shape)
    scenes, count, height, width = drawn.shape[:4]
    weights = to_masks("masks", masks, f"{scenes} {count} {height} {width}")[..., None]
    names, colors = named_components(count, background)
    titles = ["scene"] if pictures is None else ["input", "reconstruction"]
    board = _checkerboard(height, width)
    with plain_style():
        figure, axes = image_grid(
            (scenes, len(titles) + count),
            height / width,
            titles=[*titles, *names],
            colors=[*(None for _ in titles), *colors],
            captions=True,
            width=1.2,
        )
        for i, row in enumerate(axes):
            if pictures is not None:
                draw(row[0], pictures[i])
            draw(row[len(titles) - 1], (drawn[i] * weights[i]).sum(axis=0).clip(0, 1))
            for k, cell in enumerate(row[len(titles) :]):
                draw(cell, drawn[i, k] * weights[i, k] + board * (1 - weights[i, k]))
                share = weights[i, k].mean()
                caption(cell, f"{100 * share:.1f} %" if share else "not used")
        return figure


def _aspect(pictures: Float[np.ndarray, "b h w 3"]) -> float:
    return pictures.shape[1] / pictures.shape[2]


def _checkerboard(height: int, width: int) -> Float[np.ndarray, "h w 1"]:
    side = max(1, max(height, width) // 16)
    rows, columns = np.ogrid[:height, :width]
    return np.where((rows // side + columns // side) % 2, 1.0, 0.86).astype(np.float32)[..., None]
