"""What of a stored picture is kept and at which size: cut, scaled, cut again."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from slots.data.pictures import Size, nearest_places

Fit = Literal["stretch", "center", "random"]
Resample = Literal["bilinear", "bicubic", "nearest"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Framing:
    """The same cuts for a picture and its label map, which may have sizes of their own."""

    crop: tuple[int, int, int, int] | None = None
    """(top, left, height, width) in pixels of the stored picture; None keeps all."""
    fit: Fit = "stretch"
    """`stretch` gives up the aspect ratio. The others scale until the wanted size is covered and
    cut what is too long: `center` in the middle, `random` where `place` says."""
    resample: Resample = "bilinear"
    """Of pictures; label maps are always taken from the nearest pixel."""
    antialias: bool = True
    """Whether the filter is widened when shrinking: yes in Pillow and torchvision, no in
    TensorFlow's `resize`, with which several papers prepared their pictures."""

    def image(
        self, picture: UInt8[np.ndarray, "h w c"], size: Size, place: float | None = None
    ) -> UInt8[np.ndarray, "hn wn c"]:
        """The picture at `size`.

        Args:
            picture: as stored.
            size: (height, width) of the result.
            place: in [0, 1), where `random` cuts; None: in the middle.

        Raises:
            ValueError: the picture is smaller than the crop.
        """
        picture = self._cut(picture)
        scaled = self._resized(picture, self._covering(picture.shape[:2], size))
        top, left = self._corner(scaled.shape, size, place)
        return scaled[top : top + size[0], left : left + size[1]]

    def labels(
        self, labels: Shaped[np.ndarray, "h w"], size: Size, place: float | None = None
    ) -> Shaped[np.ndarray, "hn wn"]:
        """A map of labels or flags at `size`: the pixel under each new one's centre."""
        labels = self._cut(labels)
        covering = self._covering(labels.shape[:2], size)
        rows, columns = map(nearest_places, covering, labels.shape)
        top, left = self._corner(covering, size, place)
        rows, columns = rows[top : top + size[0]], columns[left : left + size[1]]
        return labels[rows[:, None], columns]

    def boxes(
        self,
        boxes: Float[np.ndarray, "m 4"],
        stored: Size,
        size: Size,
        place: float | None = None,
    ) -> Float32[np.ndarray, "m 4"]:
        """Boxes (top, left, bottom, right) in stored pixels as fractions of the picture at `size`.

        What is cut off is left out; a box outside is empty.
        """
        begin, whole = (self.crop[:2], self.crop[2:]) if self.crop else ((0, 0), stored)
        covering = self._covering(whole, size)
        corner = self._corner(covering, size, place)
        scale = [new / old for new, old in zip(covering, whole, strict=True)]
        found = (boxes - np.tile(begin, 2)) * np.tile(scale, 2) - np.tile(corner, 2)
        return np.clip(found / np.tile(size, 2), 0, 1).astype(np.float32)

    def _cut(self, array: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return array
        top, left, height, width = self.crop
        if top + height > array.shape[0] or left + width > array.shape[1]:
            raise ValueError(
                f"is {array.shape[1]}x{array.shape[0]} pixels, too small for data.crop={self.crop}"
            )
        return array[top : top + height, left : left + width]

    def _covering(self, old: tuple[int, ...], size: Size) -> Size:
        """The size to scale to, of which `size` is a part."""
        height, width = size
        if self.fit == "stretch":
            return size
        # The longer side is truncated, as torchvision's Resize does it.
        by_height, by_width = (height, height * old[1] // old[0]), (width * old[0] // old[1], width)
        return by_height if by_height[1] >= width else by_width

    def _corner(self, whole: tuple[int, ...], size: Size, place: float | None) -> tuple[int, int]:
        """Top and left of the window to cut; only one side is ever longer than the window's."""
        spare = (whole[0] - size[0], whole[1] - size[1])
        if place is None or self.fit == "center":
            return round(spare[0] / 2), round(spare[1] / 2)
        return int(place * (spare[0] + 1)), int(place * (spare[1] + 1))

    def _resized(self, picture: np.ndarray, size: Size) -> np.ndarray:
        if size == picture.shape[:2]:
            return picture
        if self.resample == "nearest":
            rows, columns = map(nearest_places, size, picture.shape[:2])
            return picture[rows[:, None], columns]
        resized = _with_pillow if self.antialias else _with_opencv
        return resized(picture, size, self.resample).reshape(*size, -1)


def _with_pillow(picture: np.ndarray, size: Size, resample: Resample) -> np.ndarray:
    from PIL import Image

    flat = picture[..., 0] if picture.shape[-1] == 1 else picture
    whole = Image.fromarray(np.ascontiguousarray(flat))
    return np.asarray(whole.resize(size[::-1], Image.Resampling[resample.upper()]))


def _with_opencv(picture: np.ndarray, size: Size, resample: Resample) -> np.ndarray:
    import cv2

    kind = cv2.INTER_LINEAR if resample == "bilinear" else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(picture), size[::-1], interpolation=kind)
