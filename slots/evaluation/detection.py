"""Average precision of a detector's results on COCO, by pycocotools (protocol `transfer/coco-1x`).

What it measures is a detector that was trained on an exported backbone somewhere else; its results
are all that is read. pycocotools believes what it is given (2.0.11: runs that do not fill a picture
keep it busy for ever, and having none makes it crash), so that all numbers are checked first.
"""

import contextlib
import dataclasses
import io
import json
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slots.config import ConfigError
from slots.data.coco_masks import runs_from_text, sound_polygons
from slots.data.pictures import BadFile, Size

SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""At IoU 0.50:0.05:0.95, 0.50 and 0.75; of objects below 32² pixels, up to 96², and above."""
_LARGEST = 2**15
"""Side of a picture, so that its pixels have numbers of 32 bits, as in pycocotools."""
_MOST = 2**24
"""Pictures times categories; pycocotools takes some hundred bytes for each pair."""

Kind = Literal["bbox", "segm"]


def detection_ap(annotations: Path, results: Path, kind: Kind) -> dict[str, float]:
    """AP of results in COCO's format: of boxes (AP^b) or of masks (AP^m).

    Crowd regions are ignored, and the 100 most confident detections of a category count in each
    picture. Two habits of pycocotools (2.0.11) are avoided: an annotation whose id is 0 counts as
    missed there, and masks of results that have boxes too go by the size of their box.

    Args:
        annotations: a file of `instances`.
        results: a list of detections: `image_id`, `category_id`, `score`, and `bbox` (left, top,
            width, height) or `segmentation` (runs, as numbers or as text, or polygons).
        kind: what is compared.

    Returns:
        `SCORES` as fractions, NaN where there is no object of the size; `pictures` of the
        annotations, with results or without; `annotations`, crowd regions not counted.

    Raises:
        ConfigError: a file is missing, no JSON or holds something else, results are of pictures or
            categories that the annotations lack, or pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ConfigError(
            "The average precision of detections needs pycocotools; pip install 'slots[coco]' "
            "brings it."
        ) from error
    data = _loaded(annotations)
    with _refused(annotations, "is no COCO file of instances"):
        known = _Known.of(data, kind)
        listed = list(data["annotations"])
    objects = _entries(annotations, listed, known.object)
    found = _entries(results, _loaded(results), known.detection)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every step
        evaluation = COCOeval(*(_indexed(COCO(), known, e) for e in (objects, found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(value) if value >= 0 else math.nan for value in evaluation.stats]
    counts = {
        "pictures": float(len(known.pictures)),
        "annotations": float(sum(not one["iscrowd"] for one in objects)),
    }
    return dict(zip(SCORES, values, strict=False)) | counts


def result_kinds(results: Path) -> list[Kind]:
    """What the results can be scored by: what their first one holds.

    Raises:
        ConfigError: the file is missing or no JSON, or there is neither.
    """
    data = _loaded(results)
    first = data[0] if isinstance(data, list) and data else {}
    fields: dict[str, Kind] = {"bbox": "bbox", "segmentation": "segm"}
    found = [kind for field, kind in fields.items() if field in first]
    if not found:
        raise BadFile(results, "has no detections with a bbox or a segmentation")
    return found


@dataclasses.dataclass(frozen=True)
class _Known:
    """What the annotations are about; pictures and categories are numbered in order of their ids.

    `object` and `detection` read an entry of the annotations and one of the results.
    """

    kind: Kind
    pictures: dict[Any, int]
    categories: dict[Any, int]
    sizes: dict[int, Size]
    """By number of the picture; of boxes none are needed."""

    @classmethod
    def of(cls, data: Any, kind: Kind) -> "_Known":
        images = {one["id"]: one for one in data["images"]}
        if len(images) < len(data["images"]):
            raise ValueError("two images have one id")
        pictures, categories = _numbered(images), _numbered(c["id"] for c in data["categories"])
        if len(pictures) * len(categories) > _MOST:
            raise ValueError(f"{len(pictures):,} pictures, {len(categories):,} categories")
        segm = kind == "segm"
        sizes = {n: _size(images[key]) for key, n in pictures.items()} if segm else {}
        return cls(kind, pictures, categories, sizes)

    def object(self, entry: Any) -> dict[str, Any]:
        area = float(entry["area"])
        if not 0 <= area < math.inf:
            raise ValueError(f"its area is {area}")
        crowd = int(entry.get("iscrowd", 0)) > 0
        return {**self._region(entry), "area": area, "iscrowd": int(crowd)}

    def detection(self, entry: Any) -> dict[str, Any]:
        from pycocotools import mask

        score, found = float(entry["score"]), self._region(entry)
        if not math.isfinite(score):
            raise ValueError(f"its score is {score}")
        if self.kind == "bbox":
            area = found["bbox"][2] * found["bbox"][3]
        else:
            area = float(mask.area(found["segmentation"]))
        return {**found, "score": score, "area": area}

    def _region(self, entry: Any) -> dict[str, Any]:
        ids = {}
        for name, table in (("image_id", self.pictures), ("category_id", self.categories)):
            if entry[name] not in table:
                raise ValueError(f"the annotations have no {name} {reprlib.repr(entry[name])}")
            ids[name] = table[entry[name]]
        if self.kind == "bbox":
            return {**ids, "bbox": _box(entry["bbox"])}
        return {**ids, "segmentation": _runs(entry["segmentation"], self.sizes[ids["image_id"]])}


def _indexed(side: Any, known: _Known, entries: list[dict[str, Any]]) -> Any:
    """An empty `COCO` with entries in it."""
    sizes = known.sizes
    images = [
        {"id": n, **dict(zip(("height", "width"), sizes.get(n, ()), strict=False))}
        for n in known.pictures.values()
    ]
    categories = [{"id": n} for n in known.categories.values()]
    side.dataset = {"images": images, "categories": categories, "annotations": entries}
    side.createIndex()
    return side


def _numbered(ids: Iterable[Any]) -> dict[Any, int]:
    return {one: number for number, one in enumerate(sorted(ids), 1)}


def _size(image: Any) -> Size:
    height, width = int(image["height"]), int(image["width"])
    if not (0 < height <= _LARGEST and 0 < width <= _LARGEST):
        raise ValueError(f"a picture of {height}×{width} pixels")
    return height, width


def _box(bbox: Any) -> list[float]:
    numbers = [float(number) for number in bbox]
    sound = len(numbers) == 4 and all(map(math.isfinite, numbers)) and min(numbers[2:]) >= 0
    if not sound:
        raise ValueError(f"its bbox is {reprlib.repr(bbox)}")
    return numbers


def _runs(region: Any, size: Size) -> dict[str, Any]:
    """Compressed runs of polygons or of runs in either form, once they are known to be sound."""
    from pycocotools import mask

    if isinstance(region, list):
        polygons = sound_polygons(region)
        return mask.merge(mask.frPyObjects([one.tolist() for one in polygons], *size))
    counts = region["counts"]
    runs = runs_from_text(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    total = size[0] * size[1]
    sound = runs.ndim == 1 and bool(((runs >= 0) & (runs <= total)).all())
    if tuple(region["size"]) != size or not sound or runs.sum() != total:
        raise ValueError(f"it has runs that do not fill a picture of {size[0]}×{size[1]} pixels")
    return mask.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)


def _loaded(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is truncated or no JSON ({error})") from error


def _entries(
    path: Path, listed: Any, read: Callable[[Any], dict[str, Any]]
) -> list[dict[str, Any]]:
    """All entries of a list, with ids counted from 1."""
    if not isinstance(listed, list):
        raise BadFile(path, f"should be a list of detections, got {reprlib.repr(listed)}")
    found = []
    for number, entry in enumerate(listed, 1):
        with _refused(path, f"has an entry {number} that cannot be used"):
            found.append({"id": number, **read(entry)})
    return found


@contextlib.contextmanager
def _refused(path: Path, reason: str) -> Iterator[None]:
    """Whatever a stranger's JSON may bring about becomes one sentence."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BadFile(path, f"{reason} ({said[:200]})") from error
