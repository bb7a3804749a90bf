"""Which component of a mixture owns which pixel, and what it is called."""

import numpy as np
from jaxtyping import Float, Int

from slots.visualize.arrays import resize_labels
from slots.visualize.colors import hex_colors

_BACKGROUND = "#777777"


def named_components(count: int, background: int | None) -> tuple[list[str], list[str]]:
    """Name and colour of every component.

    Args:
        count: of the masks' components M.
        background: the one that is no slot; -1 for the last.

    Raises:
        ValueError: there is no such component.
    """
    names, colors = [f"slot {k}" for k in range(count)], hex_colors(count)
    if background is not None:
        if not -count <= background < count:
            raise ValueError(f"`background`={background} is none of the {count} components.")
        names[background], colors[background] = "background", _BACKGROUND
    return names, colors


def owner_labels(masks: Float[np.ndarray, "b m h w"], background: int | None) -> np.ndarray:
    """Label k + 1 where component k is the largest, 0 where the background is [b, h, w]."""
    labels = np.arange(1, masks.shape[1] + 1)
    if background is not None:
        labels[background] = 0
    return labels[masks.argmax(axis=1)]


def like_slots(truth: Int[np.ndarray, "h w"], owners: Int[np.ndarray, "hs ws"]) -> np.ndarray:
    """The true label map with the labels of the slots that cover its objects.

    Each label is used once, largest overlaps first.
    """
    owners = resize_labels(owners, truth.shape)
    overlap = np.zeros((truth.max() + 1, max(owners.max(), truth.max()) + 1), int)
    np.add.at(overlap, (truth, owners), 1)
    renamed = np.zeros(len(overlap), int)
    overlap[0], overlap[:, 0] = -1, -1
    while (overlap >= 0).any():
        label, slot = np.unravel_index(overlap.argmax(), overlap.shape)
        renamed[label] = slot
        overlap[label], overlap[:, slot] = -1, -1
    return renamed[truth]
