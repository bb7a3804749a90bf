"""COCO's annotation files: what they say of each picture, and which pixels that covers."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

from slots.config import ConfigError
from slots.data.pictures import BadFile, Size, load_picture

_LONGEST = 2**20
"""Steps around a polygon; pycocotools takes a few dozen bytes for each."""
_FARTHEST = 2**15
"""Pixels that a corner may lie from the picture's; pycocotools draws every step of the way."""

# fmt: off
_KEPT = {
    "images", "annotations", "categories", "id", "image_id", "category_id", "file_name", "height",
    "width", "name", "isthing", "iscrowd", "bbox", "segmentation", "size", "counts",
    "segments_info",
}
# fmt: on


class Segment(NamedTuple):
    """One annotation, or one segment of a panoptic map."""

    category: int
    """From 1, in the order of the file's own category ids, which have gaps."""
    thing: bool
    crowd: bool
    box: tuple[float, float, float, float]
    """(top, left, bottom, right) in pixels."""
    region: Any
    """A list of polygons, runs as numbers or as text, or the number of it in a panoptic map."""


@dataclasses.dataclass(slots=True)
class Picture:
    """A picture and what is annotated in it, in the order of the file."""

    file_name: str
    size: Size | None = None
    """As the file has it; None: there is no file of annotations."""
    map_name: str = ""
    """File of the panoptic map."""
    segments: list[Segment] = dataclasses.field(default_factory=list)


def read_annotations(path: Path, panoptic: bool) -> tuple[tuple[str, ...], list[Picture]]:
    """Names of the classes, and all pictures with their segments, from `instances` or `panoptic`.

    Args:
        path: the JSON.
        panoptic: whether its annotations are panoptic maps, each with its `segments_info`.

    Raises:
        BadFile: it is truncated, in another layout, or has a segmentation that cannot be drawn.
        ConfigError: pycocotools is not there to draw instances.
    """
    if not panoptic:
        _check_pycocotools()
    data = _loaded(path)
    try:
        categories = sorted(data["categories"], key=lambda one: one["id"])
        classes = {
            one["id"]: (n, bool(one.get("isthing", 1))) for n, one in enumerate(categories, 1)
        }
        pictures = {
            one["id"]: Picture(str(one["file_name"]), (int(one["height"]), int(one["width"])))
            for one in data["images"]
        }
        for found in data["annotations"]:
            picture = pictures.get(found["image_id"])
            if picture is None:
                unknown = f"annotates picture {found['image_id']}, which is not among its images"
                raise BadFile(path, unknown)
            if panoptic:
                picture.map_name = str(found["file_name"])
            for one in found["segments_info"] if panoptic else [found]:
                number, thing = classes[one["category_id"]]
                region = _number(one["id"]) if panoptic else _region(path, one, picture)
                crowd = bool(one.get("iscrowd", 0))
                picture.segments.append(Segment(number, thing, crowd, _box(one["bbox"]), region))
        return tuple(str(one["name"]) for one in categories), list(pictures.values())
    except BadFile:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        kind = "panoptic" if panoptic else "instances"
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise BadFile(path, f"is no COCO file of {kind} ({reason})") from error


def _loaded(path: Path) -> Any:
    """The JSON without what is not needed, numbers as arrays.

    So train2017 (450 MB) keeps about 0.7 GB in memory rather than 2.
    """

    def kept(entry: dict[str, Any]) -> dict[str, Any]:
        slim = {name: value for name, value in entry.items() if name in _KEPT}
        try:
            if isinstance(slim.get("counts"), list):
                slim["counts"] = np.array(slim["counts"], np.int64)
            if isinstance(slim.get("segmentation"), list):
                slim["segmentation"] = sound_polygons(slim["segmentation"])
            return slim
        except (TypeError, ValueError, OverflowError) as error:
            where = f"of annotation {slim.get('id', '')}"
            raise BadFile(path, f"has a malformed segmentation {where} ({error})") from error

    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_hook=kept)
    except BadFile:
        raise
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is truncated or no JSON ({error})") from error


def sound_polygons(lists: list[Any]) -> list[np.ndarray]:
    """The polygons of an object, each x, y, x, y, ...

    Raises:
        ValueError: one that pycocotools would draw beyond its memory, or not at all.
    """
    polygons = [np.array(one, np.float64) for one in lists]
    for one in polygons:
        if one.ndim != 1 or one.size < 6 or one.size % 2:
            raise ValueError("a polygon should be a list of three or more x, y")
        if not (np.abs(one) <= _FARTHEST).all():
            raise ValueError("a polygon leaves the picture")
        corners = one.reshape(-1, 2)
        steps = np.abs(np.diff(corners, axis=0, append=corners[:1])).max(axis=1)
        if steps.sum() > _LONGEST:
            raise ValueError("a polygon that is too long")
    if not polygons:
        raise ValueError("it has no polygon")
    return polygons


def _region(
    path: Path, annotation: dict[str, Any], picture: Picture
) -> list[Any] | np.ndarray | str:
    """Polygons, or the runs in a run-length encoding."""
    found = annotation["segmentation"]
    if isinstance(found, list):
        return found
    where = f"of annotation {annotation.get('id', '')} in {picture.file_name}"
    if not isinstance(found, dict) or not isinstance(found["counts"], np.ndarray | str):
        raise BadFile(path, f"has a malformed segmentation {where}")
    if picture.size is None or tuple(found["size"]) != picture.size:
        reason = f"has a mask of size {found['size']} {where}, whose size is {picture.size}"
        raise BadFile(path, reason)
    return found["counts"]


def _number(found: Any) -> int:
    if not 0 < int(found) < 2**24:
        raise ValueError(f"segment {found}, where three bytes should do")
    return int(found)


def _box(bbox: Any) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, bbox)
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(f"bbox {bbox}")
    return (top, left, top + height, left + width)


def covered(region: list[np.ndarray] | np.ndarray | str, size: Size) -> Bool[np.ndarray, "h w"]:
    """The pixels of one annotation.

    Polygons are drawn by pycocotools, as everyone does: other libraries differ at the rim. Its
    `decode` is not used, for it does not look whether runs fill the picture (pycocotools 2.0.11).

    Args:
        region: polygons [x, y, x, y, ...], of which all count; or runs down the columns, the first
            of pixels outside, as numbers or as text.
        size: (height, width).

    Raises:
        ValueError: the runs do not fill the picture.
    """
    if isinstance(region, list):
        from pycocotools import mask

        drawn = mask.merge(mask.frPyObjects(region, *size))
        runs = runs_from_text(drawn["counts"].decode())
    else:
        runs = runs_from_text(region) if isinstance(region, str) else region
    total = size[0] * size[1]
    if runs.ndim != 1 or ((runs < 0) | (runs > total)).any() or runs.sum() != total:
        raise ValueError("has runs that do not fill the picture")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T


def runs_from_text(text: str) -> Int64[np.ndarray, "n"]:
    """Runs from COCO's compressed form.

    A character from `0` on is five bits of a number, lowest first, and one that says whether more
    follow; the highest is the sign. From the fourth on, it is the difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("has runs in an unknown encoding")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("has runs that break off")
    return np.array(runs, np.int64)


def instance_map(
    regions: Sequence[Any], size: Size
) -> tuple[Int32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Labels 1, 2, ... in the order of the regions, and where more than one of them is.

    A pixel belongs to the first that covers it.

    Raises:
        ValueError: see `covered`.
    """
    labels = np.zeros(size, np.int32, order="F")  # as runs go: twice as fast
    shared = np.zeros(size, bool, order="F")
    for label, region in enumerate(regions, 1):
        inside = covered(region, size)
        shared |= inside & (labels > 0)
        np.copyto(labels, label, where=inside & (labels == 0))
    return labels, shared


def panoptic_map(path: Path, numbers: Sequence[int]) -> Int32[np.ndarray, "h w"]:
    """Which segment each pixel belongs to: 0 = none, i + 1 = the one called `numbers[i]`.

    The number of a segment is R + 256 G + 65536 B of its colour.

    Raises:
        BadFile: the map cannot be read, or has another number.
    """
    red, green, blue = np.moveaxis(load_picture(path, 3).astype(np.int32), -1, 0)
    found = red + 256 * green + 65536 * blue
    known = np.array([0, *numbers], np.int64)
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known, found, sorter=order).clip(max=len(known) - 1)
    rows = order[place].astype(np.int32)
    unknown = known[rows] != found
    if unknown.any():
        raise BadFile(path, f"has segment {found[unknown][0]}, which its segments_info lacks")
    return rows


def _check_pycocotools() -> None:
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "data.annotations=instances needs pycocotools; pip install 'slots[coco]' brings it."
        ) from error
