"""What records of Multi-Object Datasets hold, as published, and their decoding."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from slots.data.pictures import BadFile
from slots.data.tfrecord import parse

# fmt: off
Variant = Literal[
    "tetrominoes", "multi_dsprites_binarized", "multi_dsprites_colored_on_grayscale",
    "multi_dsprites_colored_on_colored", "clevr_with_masks", "objects_room",
    "objects_room_empty_room", "objects_room_six_objects", "objects_room_identical_color",
]
"""The `_train` and `_test` of some published file names are left out."""
# fmt: on

CODES = {
    "shape": {1: "sphere", 2: "cylinder", 3: "cube"},
    "size": {1: "large", 2: "small"},
    "material": {1: "rubber", 2: "metal"},
    "color": {
        **{1: "red", 2: "cyan", 3: "green", 4: "blue", 5: "brown"},
        **{6: "gray", 7: "purple", 8: "yellow"},
    },
}
"""What CLEVR's codes mean; 0 is background or nothing. The publisher does not say: they were read
off the first published scene, but for colours 6 to 8, which follow from the order in which codes
were given out and have not been seen. Other releases of CLEVR number their classes differently."""
ROOM = ("floor", "wall", "wall", *(f"object {i}" for i in range(1, 7)))
"""Entities of Objects Room from 1 on; 0 is the sky. Walls may be one: see `MultiObjectConfig`."""

VISIBILITY = "visibility.npy"
"""File of a converted folder: [scene, entity], so that scenes can be chosen by their objects."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What the records of one published set hold."""

    records: int = 1_000_000
    """As published."""
    entities: int
    """Rows of masks and factors, backgrounds first."""
    picture: tuple[int, int, int]
    numbers: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Shape of what is stored as float32 of one entity."""
    codes: tuple[str, ...] = ()
    """What is stored as one byte of each entity."""
    backgrounds: int = 1
    entities_last: bool = False
    """Masks are stored (height, width, entity, 1) and not (entity, height, width, 1)."""

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """A decoded scene: `image`, the number of each pixel's entity, `visibility`, factors."""
        height, width, _ = self.picture
        numbers = {"visibility": (), **self.numbers}
        return np.dtype(
            [("image", np.uint8, self.picture), ("entities", np.uint8, (height, width))]
            + [(name, np.float32, (self.entities, *shape)) for name, shape in numbers.items()]
            + [(name, np.uint8, (self.entities,)) for name in self.codes]
        )


def _sprites(entities: int, channels: int) -> Layout:
    numbers = ("visibility", "x", "y", "shape", "orientation", "scale")
    return Layout(
        entities=entities,
        picture=(64, 64, channels),
        numbers={**dict.fromkeys(numbers, ()), "color": (channels,)},
        entities_last=True,
    )


def _room(entities: int, records: int = 922) -> Layout:
    return Layout(records=records, entities=entities, picture=(64, 64, 3), backgrounds=4)


LAYOUTS: dict[str, Layout] = {
    "tetrominoes": Layout(
        entities=4,
        picture=(35, 35, 3),
        numbers={**dict.fromkeys(("visibility", "x", "y", "shape"), ()), "color": (3,)},
    ),
    "multi_dsprites_binarized": _sprites(4, 1),
    "multi_dsprites_colored_on_grayscale": _sprites(6, 3),
    "multi_dsprites_colored_on_colored": _sprites(5, 3),
    "clevr_with_masks": Layout(
        records=100_000,
        entities=11,
        picture=(240, 320, 3),
        numbers={
            **dict.fromkeys(("visibility", "x", "y", "z", "rotation"), ()),
            "pixel_coords": (3,),
        },
        codes=("size", "material", "shape", "color"),
    ),
    "objects_room": _room(7, 1_000_000),
    "objects_room_empty_room": _room(4),
    "objects_room_six_objects": _room(10),
    "objects_room_identical_color": _room(10),
}
"""By variant."""


def decode(record: bytes, variant: Variant, path: Path) -> np.void:
    """A published record as an element of `Layout.dtype`; `entities` still has all backgrounds.

    Args:
        record: a serialized `tf.train.Example`, in which bytes are lists of single ones.
        variant: which set it is of.
        path: the file that errors name.

    Raises:
        BadFile: it is not of this set.
    """
    layout = LAYOUTS[variant]
    arrays: dict[str, Any] = dict(parse(record, path, join=True))
    height, width, _ = layout.picture
    axes = (height, width, layout.entities) if layout.entities_last else (-1, height, width)
    _check(arrays, "mask", height * width * layout.entities, variant, path)
    masks = arrays["mask"].reshape(axes)
    masks = np.moveaxis(masks, -1, 0) if layout.entities_last else masks
    arrays["entities"] = entity_map(masks)
    if "visibility" not in layout.numbers:
        arrays["visibility"] = np.asarray(masks.any(axis=(1, 2)), np.float32)
    return scene_of(arrays, variant, path)


def entity_map(masks: UInt8[np.ndarray, "e h w"]) -> UInt8[np.ndarray, "h w"]:
    """The entity whose mask is largest; 0 where there is none, or more than one."""
    only = (masks == masks.max(axis=0)).sum(axis=0) == 1
    return np.where(only, masks.argmax(axis=0), 0).astype(np.uint8)


def scene_of(arrays: Mapping[str, Any], variant: Variant, path: Path) -> np.void:
    """Arrays of any shape as a scene."""
    scene = np.zeros(1, LAYOUTS[variant].dtype)[0]
    for name in scene.dtype.names or ():
        _check(arrays, name, scene[name].size, variant, path)
        scene[name] = arrays[name].reshape(scene[name].shape)
    return scene


def _check(arrays: Mapping[str, Any], name: str, count: int, variant: Variant, path: Path) -> None:
    """Raises BadFile where there are no values of this name, or not as many as the set has."""
    found = np.size(arrays.get(name, ()))
    if found != count:
        wanted = f"{count:,} values of {name!r} in a record, got {found:,}"
        raise BadFile(path, f"does not fit data.variant={variant}, which has {wanted}")
