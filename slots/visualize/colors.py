"""One colour for each slot, and pictures tinted with them."""

import numpy as np
from jaxtyping import Bool, Float, Int

from slots.visualize.arrays import resize_labels

# Okabe & Ito (2008), without black; then colours chosen one by one to be farthest (CIELAB) from
# those before them for normal, protan and deutan eyes (simulated after Machado et al., 2009).
_PALETTE = bytes.fromhex(
    "e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 6969ff 780069 00ff96 e1004b 1ef0ff "
    "4b3c0f b4e1c3 6900a5 e1965a 0000ff a5f069 692d4b d200b4 4b693c 7896ff 874b00 1e1ed2"
)

_GREY = 0.25
"""Part of the wash that is the grey picture."""


def slot_colors(count: int) -> Float[np.ndarray, "k 3"]:
    """RGB in [0, 1] for slots 0 to `count` - 1, the same for a slot whatever the count.

    The first seven are told apart with any common colour vision. After 24 they repeat.
    """
    rgb = np.frombuffer(_PALETTE, np.uint8).reshape(-1, 3).astype(np.float32) / 255.0
    return rgb[np.arange(count) % len(rgb)]


def hex_colors(count: int) -> list[str]:
    """The same as `#rrggbb`."""
    return ["#" + bytes(np.round(255 * c).astype(np.uint8)).hex() for c in slot_colors(count)]


def tint(
    image: Float[np.ndarray, "h w 3"],
    labels: Int[np.ndarray, "hs ws"],
    ignore: Bool[np.ndarray, "hs ws"] | None = None,
) -> Float[np.ndarray, "hh ww 3"]:
    """The picture in grey, every label washed with its colour and outlined in it.

    Args:
        image: RGB in [0, 1].
        labels: label i + 1 takes the colour of slot i; 0 stays grey.
        ignore: True where pixels do not count; striped.

    Returns:
        A picture enlarged by a whole factor to 320 pixels or more, so that outlines are thin.
    """
    factor = -(-320 // max(image.shape[:2]))
    large = image.repeat(factor, axis=0).repeat(factor, axis=1)
    label_map = resize_labels(labels, large.shape[:2])
    colors = np.concatenate([np.zeros((1, 3), np.float32), slot_colors(int(label_map.max()))])
    grey = np.nan_to_num(large) @ np.array([[0.299], [0.587], [0.114]], np.float32)
    wash = colors[label_map]
    # The picture shows through as brightness, so that black ground still takes the colour.
    washed = _GREY * grey + (1 - _GREY) * wash * (0.6 + 0.4 * grey)
    edge = _inner_edges(label_map, max(1, max(label_map.shape) // 110))[..., None]
    tinted = np.where(edge, wash, np.where(label_map[..., None] > 0, washed, grey))
    if ignore is not None:
        rows, columns = np.ogrid[: label_map.shape[0], : label_map.shape[1]]
        stripes = (rows + columns) // 6 % 2 == 0
        striped = resize_labels(ignore, label_map.shape) & stripes
        tinted = np.where(striped[..., None], np.float32(0.85), tinted)
    return tinted


def _inner_edges(labels: Int[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """True on labelled pixels within `width` of a larger label or of none; the rim is no edge.

    Of two neighbours only the smaller is outlined, so that the line has the object's colour.
    """
    area = np.bincount(labels.ravel())
    area[0] = labels.size + 1
    own = area[labels]
    padded = np.pad(labels, width, mode="edge")
    height, length = labels.shape
    edge = np.zeros(labels.shape, bool)
    for down, right in ((0, width), (2 * width, width), (width, 0), (width, 2 * width)):
        other = padded[down : down + height, right : right + length]
        edge |= (other != labels) & (area[other] >= own)
    return edge & (labels > 0)
