"""Scenes to look into: a widget for notebooks, and the part of a report that is one."""

import base64
import dataclasses
import gzip
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from slots.visualize.arrays import Array, check_axes, to_labels, to_masks, to_rgb
from slots.visualize.colors import hex_colors
from slots.visualize.components import like_slots, named_components, owner_labels
from slots.visualize.page import page

_OFF = np.int16(-32768)
_STEP = 4 / 32767
"""Of parts."""
_LOWEST = -1e8
"""Alphas below are no alphas: decoders put inactive slots there."""
_FRAME = "width: 100%; height: 760px; border: 0"

KEYS = (
    "<p class='quiet'>Move over a picture to see whose pixels they are; choose a slot to see its "
    "attention. With the keyboard: <kbd>Tab</kbd> to a scene's slots, arrows choose"
)
_MORE_KEYS = (
    ", <kbd>Space</kbd> switches off and on, <kbd>P</kbd> picks; then in another scene "
    "<kbd>S</kbd> swaps and <kbd>M</kbd> moves; <kbd>R</kbd> resets"
)


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Scenes with their slots, packed for a page. The last value of a notebook's cell is shown."""

    packed: Mapping[str, Any] = dataclasses.field(repr=False)
    """For JSON; see `slots/visualize/page/gallery.js`."""

    def html(self) -> str:
        """A page of its own, in one file."""
        return page("Slots", gallery_body([self]), [self.packed])

    def _repr_html_(self) -> str:
        # A document of its own: several in a notebook do not meet, and none meets the notebook.
        document = html.escape(self.html())
        return f'<iframe sandbox="allow-scripts" style="{_FRAME}" srcdoc="{document}"></iframe>'


def slot_gallery(
    images: Array,
    masks: Array,
    *,
    parts: Array | None = None,
    alphas: Array | None = None,
    attention: Array | None = None,
    grid: tuple[int, int] | None = None,
    segmentation: Array | None = None,
    background: int | None = None,
    name: str = "run",
) -> Gallery:
    """Scenes in which slots are hovered, and their attention seen in every iteration.

    With `alphas` and `parts`, slots can be switched off, swapped and moved between scenes, and the
    picture is mixed anew: Σ softmax(alphas) ⊙ parts over those that are on. Both are kept in
    16 bits, so that it is the decoder's own picture up to rounding.

    Args:
        images: [B, H, W, C], floats in [0, 1] or uint8, C = 1 or 3.
        masks: [B, M, h, w] in [0, 1].
        parts: [B, M, h, w, C] in the images' range, what each component draws alone.
        alphas: [B, M, h, w], logits of the masks that a component has from itself alone.
        attention: [B, R, K, N] over R iterations; summing to 1 over K.
        grid: (rows, columns) of the N tokens.
        segmentation: true labels, integers [B, Hs, Ws], 0 = background.
        background: component of `masks` that is no object; -1 for the last.
        name: of the run.

    Raises:
        ValueError: a shape does not fit, or the tokens do not tile the grid.
    """
    pictures = to_rgb("images", images, "scenes H W C")
    count = len(pictures)
    weights = to_masks("masks", masks, f"{count} M h w")
    shape = "{} {} {} {}".format(*weights.shape)
    names, colors = named_components(weights.shape[1], background)
    composable = alphas is not None and parts is not None
    levels, step = _levels(
        np.log(np.maximum(weights, 1e-6))
        if alphas is None
        else check_axes("alphas", alphas, shape).astype(np.float64)
    )
    arrays: dict[str, np.ndarray] = {"alphas": levels, "images": _bytes(pictures)}
    if parts is not None:
        drawn = check_axes("parts", parts, f"{shape} C").astype(np.float64)
        drawn = np.broadcast_to(drawn, (*weights.shape, 3))
        # Not clipped to [0, 1]: where a part is faint it may lie outside, and the mixture does not.
        arrays["parts"] = np.round(np.clip(np.nan_to_num(drawn), -4, 4) / _STEP).astype(np.int16)
    if attention is not None:
        settled = to_masks("attention", attention, f"{count} iterations slots tokens")
        rows, columns = grid or (1, settled.shape[-1])
        if rows * columns != settled.shape[-1]:
            raise ValueError(f"`grid`={grid} does not hold the {settled.shape[-1]} tokens.")
        arrays["attention"] = _bytes(settled.reshape(*settled.shape[:3], rows, columns))
    if segmentation is not None:
        truth = to_labels("segmentation", segmentation, f"{count} Hs Ws")
        own = owner_labels(weights, background)
        renamed = [like_slots(*pair) for pair in zip(truth, own, strict=True)]
        arrays["truth"] = np.minimum(renamed, 255).astype(np.uint8)
    return Gallery(
        {
            "name": name,
            "names": names,
            "colors": colors,
            "palette": hex_colors(int(arrays["truth"].max()) if "truth" in arrays else 0),
            "background": None if background is None else range(len(names))[background],
            "composable": composable,
            "alphaStep": step,
            "partStep": _STEP,
            **_pack(arrays),
        }
    )


def gallery_body(galleries: Sequence[Gallery]) -> str:
    """The HTML that `gallery.js` fills, with how to use it."""
    composable = any(gallery.packed["composable"] for gallery in galleries)
    return (
        f"{KEYS}{_MORE_KEYS if composable else ''}.</p>\n"
        '<div id="gallery"><p>The gallery needs JavaScript.</p></div>'
    )


def _levels(alphas: Shaped[np.ndarray, "b m h w"]) -> tuple[np.ndarray, float]:
    """Alphas as int16 multiples of a step, and the step; `_OFF` where a slot takes no part."""
    on = np.isfinite(alphas) & (alphas > _LOWEST)
    largest = float(np.abs(alphas[on]).max(initial=0.0))
    step = largest / 32767 or 1.0
    return np.where(on, np.round(np.where(on, alphas, 0.0) / step), _OFF).astype(np.int16), step


def _bytes(values: Shaped[np.ndarray, "*n"]) -> np.ndarray:
    return np.round(255 * np.nan_to_num(values)).astype(np.uint8)


def _pack(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """All arrays as one compressed text, and where each lies in it."""
    places, parts, offset = {}, [], 0
    # Those of two bytes first: a browser wants them to start at even places.
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        kind = array.dtype.str[1:]
        places[name] = {"kind": kind, "shape": list(array.shape), "offset": offset}
        parts.append(array.astype(f"<{kind}").tobytes())
        offset += array.nbytes
    packed = gzip.compress(b"".join(parts), mtime=0)
    return {"arrays": places, "blob": base64.b64encode(packed).decode()}
