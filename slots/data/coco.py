"""COCO's folders: pictures with instances, panoptic segments, maps of stuff, or nothing else."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from slots.config import ConfigError, nearest
from slots.data.coco_masks import Picture, Segment, instance_map, panoptic_map, read_annotations
from slots.data.framing import Fit
from slots.data.pictures import ENDINGS, BadFile, Size, load_picture
from slots.data.records import located
from slots.data.stored import Example, Source, StoredConfig

UNLABELLED = ("unlabeled2017", "test2017")
"""Published without annotations: always pictures only."""
STUFF_CLASSES = 182
_OLD_NAME = re.compile(r"COCO_(train|val)2014_")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CocoConfig(StoredConfig):
    """COCO 2017 (Lin et al. 2014; cocodataset.org), or a set in its layout.

    `path` holds folders of pictures, whose names are those of the splits: `train2017` (118,287),
    `val2017` (5,000), and `unlabeled2017` and `test2017`, which nothing is published for; beside
    them `annotations`. Pictures come in the order of their file names, whatever is read with them.
    Results are reported on `val2017`.

    The sizes are those of SPOT (Kakogeorgiou et al. 2024) and DINOSAUR (Seitzer et al. 2023), which
    mirror every second training picture (`flip`); DINOSAUR scales with `resample=bicubic`. SPOT
    scores with `overlaps=ignore crowd=object`, DINOSAUR with `overlaps=ignore crowd=background`;
    a score should say which it used. Unverified: that DINOSAUR's score ignores overlaps, and leaves
    out pictures without objects; they are kept here.

    Objects are numbered in the order of the JSON, where a pixel belongs to the first that covers
    it, in `segmentation` and in `semantic`. Some have no pixel at all. The properties are
    `category`, the place of the class among the sorted category ids (1 to 80; panoptic: to 133),
    and `box`.
    """

    train: str = "train2017"
    val: str = "val2017"
    image_size: tuple[int, int] = (224, 224)
    label_size: tuple[int, int] | None = (320, 320)
    fit: Fit = "center"
    annotations: Literal["instances", "panoptic", "stuff", "none"] = "instances"
    """`instances` reads `annotations/instances_NAME.json`; `panoptic` reads
    `annotations/panoptic_NAME.json` and the maps in the folder of that name, where only things are
    in `segmentation` and what belongs to no segment is ignored; `stuff` reads COCO-Stuff's maps
    `stuffthingmaps/NAME/*.png`, for `semantic` alone: COCO's category ids from 1 to 182, gaps kept,
    and 255 ignored; `none` reads pictures, as of SlotCon's COCO+: `train2017` and `unlabeled2017`
    in one folder."""
    overlaps: Literal["ignore", "first"] = "ignore"
    """Pixels that two or more annotations cover: counted nowhere, or as the first one's. (Panoptic
    segments never do.)"""
    crowd: Literal["ignore", "object", "background"] = "ignore"
    """Regions annotated as a crowd: counted nowhere (but for objects in them, with
    `overlaps=first`), one object each, or as though they were not annotated."""
    subset: str = ""
    """A text file with the id or file name of one picture a line, such as COCO-20k's (names of 2014
    are understood) or a curated list; others are left out. It serves all splits, and must name some
    picture of each."""

    def open(self, name: str) -> "CocoSource":
        """The pictures in folder `name`; see `StoredConfig.open`."""
        return SOURCES["none" if name in UNLABELLED else self.annotations](self, name)


class CocoSource(Source):
    """Pictures alone, see `CocoConfig`; subclasses add what is annotated."""

    max_objects = 0

    def __init__(self, config: CocoConfig, name: str):
        self._config = config
        self._root = located(config.path)
        self._folder = self._root / name
        if not self._folder.is_dir():
            others = sorted(f.name for f in self._root.glob("*") if f.is_dir())
            hint = nearest(name, others) or "."
            raise ConfigError(f"{self._root} has no folder {name!r} of pictures{hint}")
        self.where = self._folder
        found = sorted(self._read(name), key=lambda picture: picture.file_name)
        self._pictures = _listed(found, config.subset, self._folder)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        picture = self._pictures[index]
        image = load_picture(self._folder / picture.file_name, self._config.channels)
        return Example(image=image, **self._annotated(picture, image.shape[:2]))

    def _read(self, name: str) -> list[Picture]:
        """All pictures of the split."""
        files = (f.name for f in self._folder.iterdir())
        return [Picture(file) for file in files if file.lower().endswith(ENDINGS)]

    def _annotated(self, picture: Picture, size: Size) -> dict[str, Any]:
        """The other fields of its example, of which `size` is the picture's own."""
        return {}


class CocoStuff(CocoSource):
    """With COCO-Stuff's maps (Caesar et al. 2018); classes are called by their ids."""

    classes = tuple(str(number) for number in range(1, STUFF_CLASSES + 1))

    def _annotated(self, picture: Picture, size: Size) -> dict[str, Any]:
        folder = self._root / "stuffthingmaps" / self._folder.name
        path = folder / f"{Path(picture.file_name).stem}.png"
        values = load_picture(path, 3).astype(np.int32)  # some copies repeat the grey
        if (values != values[..., :1]).any():
            raise BadFile(path, "is no grey picture of class ids")
        void = values[..., 0] == 255
        semantic = np.where(void, 0, values[..., 0] + 1)
        if semantic.max() > STUFF_CLASSES:
            raise BadFile(path, f"has value {semantic.max() - 1}, COCO-Stuff's go to 181")
        _same_size(path, void.shape, picture, size)
        return {"semantic": semantic, "ignore": void}


class CocoInstances(CocoSource):
    """With the objects of `instances_NAME.json`."""

    _kind = "instances"

    def _read(self, name: str) -> list[Picture]:
        folder = self._root / "annotations"
        self.where = folder / f"{self._kind}_{name}.json"
        if not self.where.is_file():
            found = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
            has = f"that folder has {', '.join(found[:12])}" if found else "there is no such folder"
            raise ConfigError(f"{folder} should have {self.where.name}; {has}.")
        self.classes, pictures = read_annotations(self.where, self._kind == "panoptic")
        return pictures

    @functools.cached_property
    def max_objects(self) -> int:  # type: ignore[override]
        """Largest number of objects annotated in a picture."""
        return int(self.object_counts().max(initial=0))

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """Annotated objects of each picture; some may have no pixel."""
        return np.array([len(self._objects(picture)) for picture in self._pictures], np.int32)

    def _counts(self, segment: Segment) -> bool:
        return not segment.crowd or self._config.crowd == "object"

    def _objects(self, picture: Picture) -> list[Segment]:
        return [one for one in picture.segments if one.thing and self._counts(one)]

    def _annotated(self, picture: Picture, size: Size) -> dict[str, Any]:
        objects = self._objects(picture)
        category = np.array([one.category for one in objects], np.int32)
        return {
            **self._maps(picture, size),
            "properties": {"category": category},
            "boxes": np.array([one.box for one in objects], np.float64).reshape(-1, 4),
        }

    def _maps(self, picture: Picture, size: Size) -> dict[str, np.ndarray]:
        assert picture.size is not None
        _same_size(self.where, picture.size, picture, size)
        objects = self._objects(picture)
        crowds = [one.region for one in picture.segments if one.crowd]
        try:
            labels, shared = instance_map([one.region for one in objects], size)
            crowd, _ = instance_map(crowds if self._config.crowd == "ignore" else [], size)
        except ValueError as error:
            raise BadFile(self.where, f"{error}, in {picture.file_name}") from error
        category = np.array([0, *(one.category for one in objects)], np.int32)
        first = self._config.overlaps == "first"
        return {
            "segmentation": labels,
            "semantic": category[labels],
            "ignore": (crowd > 0) & (labels == 0) if first else (crowd > 0) | shared,
        }


class CocoPanoptic(CocoInstances):
    """With the segments of `panoptic_NAME.json` (Kirillov et al. 2019); none overlap."""

    _kind = "panoptic"

    def _read(self, name: str) -> list[Picture]:
        pictures = super()._read(name)
        folder = self.where.with_suffix("")
        if not folder.is_dir():
            raise ConfigError(f"{folder} does not exist; unpack {folder.name}.zip, which has it.")
        return pictures

    def _maps(self, picture: Picture, size: Size) -> dict[str, np.ndarray]:
        path = self.where.with_suffix("") / picture.map_name
        if not picture.map_name:
            raise BadFile(self.where, f"has no annotation of {picture.file_name}")
        rows = panoptic_map(path, [one.region for one in picture.segments])
        _same_size(path, rows.shape, picture, size)
        counts = np.array([False, *(self._counts(one) for one in picture.segments)])
        things = counts & [False, *(one.thing for one in picture.segments)]
        category = np.array([0, *(one.category for one in picture.segments)], np.int32)
        void = ~counts if self._config.crowd == "ignore" else np.arange(len(counts)) == 0
        return {
            "segmentation": np.where(things, np.cumsum(things), 0).astype(np.int32)[rows],
            "semantic": np.where(counts, category, 0)[rows],
            "ignore": void[rows],
        }


SOURCES: dict[str, type[CocoSource]] = {
    "instances": CocoInstances,
    "panoptic": CocoPanoptic,
    "stuff": CocoStuff,
    "none": CocoSource,
}


def _listed(pictures: list[Picture], subset: str, folder: Path) -> list[Picture]:
    """Those that the list names; all without one."""
    if not subset:
        return pictures
    path = Path(subset).expanduser()
    if not path.is_file():
        raise ConfigError(f"data.subset={subset} does not exist.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise BadFile(path, "is no text file with a picture a line") from error
    wanted = {_key(line.strip()) for line in lines if line.strip()}
    kept = [picture for picture in pictures if _key(picture.file_name) in wanted]
    if not kept:
        raise ConfigError(f"data.subset={subset} names no picture of {folder}.")
    return kept


def _key(name: str) -> str:
    """A picture's id, given that or its file name: `000000000139.jpg` is picture 139."""
    return _OLD_NAME.sub("", Path(name).stem).lstrip("0")


def _same_size(path: Path, size: tuple[int, ...], picture: Picture, real: Size) -> None:
    if tuple(size) != tuple(real):
        raise BadFile(
            path,
            f"is for {size[1]}x{size[0]} pixels, but {picture.file_name} has {real[1]}x{real[0]}",
        )
