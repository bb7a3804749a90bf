"""Picture and label files as small arrays of one size; Pillow is imported when a file is read."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, UInt8

from slots.config import ConfigError

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
"""What counts as a picture, in any case; of an animation the first frame."""

MAX_LABEL = 65535

Size = tuple[int, int]
"""(height, width) in pixels."""


class BadFile(ConfigError):
    """A file that cannot be used: one sentence with its path and the reason."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} {reason}.")
        self.path = path
        self.reason = reason


@contextlib.contextmanager
def _opened(path: Path, encoded: bytes | None = None) -> Iterator["Image.Image"]:
    """The picture with only its header read; whatever goes wrong inside becomes a `BadFile`.

    Args:
        path: the file, or the one that `encoded` is a part of.
        encoded: a picture file's bytes, where they are part of another file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path if encoded is None else io.BytesIO(encoded)) as picture:
            yield picture
    except BadFile:
        raise
    except FileNotFoundError as error:
        raise BadFile(path, "does not exist (any more)") from error
    except UnidentifiedImageError as error:
        empty = not (path.stat().st_size if encoded is None else encoded)
        raise BadFile(path, "is empty" if empty else "is not a picture Pillow can read") from error
    except Exception as error:
        # Damage shows as OSError, SyntaxError, ValueError, struct.error, ..., each format its own.
        raise BadFile(path, f"cannot be decoded ({str(error).rstrip('.')})") from error


def picture_size(path: Path) -> Size:
    """Height and width as a viewer shows it, from the header alone.

    Raises:
        BadFile: missing, empty, or no picture.
    """
    from PIL import ExifTags

    with _opened(path) as picture:
        width, height = picture.size
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        # Pillow turns TIFF itself and says the turned size.
        return (width, height) if turned and picture.format != "TIFF" else (height, width)


def load_picture(
    path: Path, channels: int, encoded: bytes | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """A picture at its stored size as uint8, not turned by its EXIF tag: label maps have none.

    Channels as in `read_picture`.

    Args:
        path: the file.
        channels: 1 or 3.
        encoded: the picture's bytes, where `path` is a file of records that holds them.

    Raises:
        BadFile: the picture cannot be decoded, or has floating-point pixels.
    """
    with _opened(path, encoded) as picture:
        small = np.asarray(_eight_bit(picture, channels, path))
        return small.reshape(*small.shape[:2], channels)


def load_labels(path: Path, encoded: bytes | None = None) -> Int32[np.ndarray, "h w"]:
    """A label map at its stored size from an index picture, see `read_labels`.

    Args:
        path: the file.
        encoded: the picture's bytes, where `path` is a file of records that holds them.

    Raises:
        BadFile: see `read_labels`.
    """
    with _opened(path, encoded) as picture:
        if picture.format == "JPEG":
            raise BadFile(path, "is a JPEG, which changes labels; store masks as PNG")
        if picture.mode not in ("P", "L", "1", "I") and not picture.mode.startswith("I;16"):
            raise BadFile(path, f"is no index picture (its pixels are {picture.mode})")
        labels = np.asarray(picture).astype(np.int32)
    if labels.min() < 0 or labels.max() > MAX_LABEL:
        raise BadFile(path, f"has labels outside 0 to {MAX_LABEL}")
    return labels


def read_picture(path: Path, size: Size, channels: int, square: bool) -> UInt8[np.ndarray, "h w c"]:
    """A picture of `size` as uint8, turned upright as its EXIF tag says.

    Bilinear with the filter widened when shrinking (antialiased, Pillow's way; not what TensorFlow
    does by default). Big JPEGs are decoded at a fraction of their size that is at least twice the
    wanted one. Grey is repeated to three channels, colour becomes luminance (ITU-R 601) for one;
    alpha is dropped; 16-bit grey is divided by 257.

    Args:
        path: the file.
        size: height and width of the result; the aspect ratio is not kept.
        channels: 1 or 3.
        square: cut the largest centred square first.

    Raises:
        BadFile: the file cannot be decoded, or holds floating-point pixels.
    """
    from PIL import Image, ImageOps

    height, width = size
    with _opened(path) as opened:
        opened.draft(None, (2 * max(size), 2 * max(size)))
        picture = ImageOps.exif_transpose(opened)
        picture = _eight_bit(picture, channels, path)
        box = _square(picture.height, picture.width) if square else None
        corners = (box[1], box[0], box[1] + box[2], box[0] + box[2]) if box else None
        small = picture.resize((width, height), Image.Resampling.BILINEAR, box=corners)
        return np.asarray(small).reshape(height, width, channels)


def read_labels(path: Path, size: Size, square: bool) -> Int32[np.ndarray, "h w"]:
    """A label map of `size` from an index picture: palette indices, or 1, 8 and 16-bit grey values.

    Nearest neighbour with half-pixel centres; no label is ever mixed from two.

    Args:
        path: the file.
        size: height and width of the result.
        square: cut the largest centred square first, as for the picture.

    Raises:
        BadFile: the file cannot be decoded, is a JPEG (whose compression changes labels), in
            colour, or holds labels outside 0 to 65535.
    """
    labels = load_labels(path)
    if square:
        top, left, side = _square(*labels.shape)
        labels = labels[top : top + side, left : left + side]
    rows = nearest_places(size[0], labels.shape[0])
    columns = nearest_places(size[1], labels.shape[1])
    return labels[rows[:, None], columns]


def _eight_bit(picture: "Image.Image", channels: int, path: Path) -> "Image.Image":
    from PIL import Image

    if picture.mode == "F":
        raise BadFile(path, "has floating-point pixels; store it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # `convert` would clip at 255
        grey = np.clip(np.asarray(picture, np.float32), 0, MAX_LABEL) / 257.0
        picture = Image.fromarray(np.round(grey).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("L" if channels == 1 else "RGB")


def by_size(
    labels: Int32[np.ndarray, "h w"],
    min_pixels: int,
    most: int | None = None,
    ignore_value: int | None = None,
) -> Int32[np.ndarray, "h w"]:
    """Objects numbered 1, 2, ... from the largest on; the others become background (0).

    Args:
        labels: 0 = background.
        min_pixels: what an object needs to stay.
        most: how many stay; None: all.
        ignore_value: a label that is no object and stays as it is.
    """
    found, counts = np.unique(labels, return_counts=True)
    objects = (found != 0) & (counts >= min_pixels)
    if ignore_value is not None:
        objects &= found != ignore_value
    order = np.flatnonzero(objects)
    order = order[np.argsort(-counts[order], kind="stable")][:most]  # of equals, the lower label
    new = np.zeros(len(found), np.int32)
    new[order] = np.arange(1, len(order) + 1)
    if ignore_value is not None:
        new[found == ignore_value] = ignore_value
    return new[np.searchsorted(found, labels)]


def nearest_places(new: int, old: int) -> Int32[np.ndarray, "n"]:
    """The old pixel under the centre of each new one: nearest neighbour, half-pixel centres."""
    return np.floor((np.arange(new) + 0.5) * (old / new)).astype(np.int32)


def _square(height: int, width: int) -> tuple[int, int, int]:
    """Top, left and side of the largest centred square."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side
