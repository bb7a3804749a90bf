"""Pascal VOC's folders: pictures with index masks of instances and classes, or with boxes."""

import dataclasses
import functools
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int32

from slots.config import ConfigError, nearest
from slots.data.framing import Fit
from slots.data.pictures import BadFile, load_labels, load_picture
from slots.data.records import first_words, located
from slots.data.stored import Example, Source, StoredConfig

# fmt: off
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
VOID = 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocConfig(StoredConfig):
    """Pascal VOC 2012 (Everingham et al.): `VOCdevkit/VOC2012`, or a set in its layout.

    Names of splits are lists: `trainaug` is `ImageSets/Segmentation/trainaug.txt` (with boxes:
    `ImageSets/Main/`). A list has masks if each of its pictures has; `trainaug` has none, for the
    masks that it adds know no instances. Results on VOC are reported on `val`; there is no public
    test set.
    """

    train: str = "trainaug"
    image_size: tuple[int, int] = (224, 224)
    label_size: tuple[int, int] | None = (320, 320)
    fit: Fit = "random"
    annotations: Literal["masks", "boxes"] = "masks"
    """`boxes` reads `Annotations/*.xml` in place of masks: properties `box` and `category`."""
    void: Literal["ignore", "background"] = "ignore"
    """What the rim of value 255 counts as; `background` in SPOT's code."""

    def open(self, name: str) -> "VocSource":
        """The list `name`; see `StoredConfig.open`."""
        return VocSource(self, name)


class VocSource(Source):
    """See `VocConfig`."""

    def __init__(self, config: VocConfig, name: str):
        self._config = config
        self.where = located(config.path)
        kind = "Segmentation" if config.annotations == "masks" else "Main"
        lists = self.where / "ImageSets" / kind
        found = lists / f"{name}.txt"
        if not found.is_file():
            others = sorted(f.stem for f in lists.glob("*.txt"))
            raise ConfigError(f"{lists} has no list {name!r}{nearest(name, others) or '.'}")
        # Lists of one class have a second column, which says whether it is in the picture.
        self._names = first_words(found)
        masks = {f.stem for f in (self.where / "SegmentationObject").glob("*.png")}
        self._masked = config.annotations == "masks" and masks.issuperset(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """VOC's twenty; with boxes the names found, in alphabetical order."""
        if self._config.annotations == "masks":
            return CLASSES
        return tuple(sorted({name for objects in self._objects for name, _ in objects}))

    @functools.cached_property
    def max_objects(self) -> int:  # type: ignore[override]
        """Largest number of instances in a picture; reads all masks of the list once."""
        if self._config.annotations == "boxes":
            return max(map(len, self._objects), default=0)
        if not self._masked:
            return 0
        return max(int(self._mask("Object", n)[0].max()) for n in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        """See `Source`; the property `category` is an instance's class, from 1."""
        picture = self.where / "JPEGImages" / f"{self._names[index]}.jpg"
        image = load_picture(picture, self._config.channels)
        if self._config.annotations == "boxes":
            objects = self._objects[index]
            boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
            category = np.array([self.classes.index(name) + 1 for name, _ in objects], np.int32)
            return Example(
                image=image,
                boxes=boxes,
                properties={"category": category},
                visibility=np.ones(len(objects), bool),
            )
        if not self._masked:
            return Example(image=image)
        instances, void = self._mask("Object", index)
        semantic, _ = self._mask("Class", index)
        return Example(
            image=image,
            segmentation=instances,
            semantic=semantic,
            ignore=void if self._config.void == "ignore" else np.zeros_like(void),
            properties={"category": _class_of(instances, semantic)},
        )

    def _mask(self, kind: str, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels, 0 where they are void, and where that is."""
        labels = load_labels(self.where / f"Segmentation{kind}" / f"{self._names[index]}.png")
        void = labels == VOID
        return np.where(void, 0, labels), void

    @functools.cached_property
    def _objects(self) -> list[list[tuple[str, list[float]]]]:
        return [_read_boxes(self.where / "Annotations" / f"{name}.xml") for name in self._names]


def _class_of(
    instances: Int32[np.ndarray, "h w"], semantic: Int32[np.ndarray, "h w"]
) -> Int32[np.ndarray, "m"]:
    """The class under each instance: the two kinds of files are not in the same order."""
    category = np.zeros(instances.max(initial=0) + 1, np.int32)
    category[instances.ravel()] = semantic.ravel()
    return category[1:]


def _read_boxes(path: Path) -> list[tuple[str, list[float]]]:
    """Names and boxes (top, left, bottom, right), ends exclusive, from 0.

    In the files pixels are counted from 1, and the last one is inside.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
        return [
            (
                str(found.findtext("name")),
                [
                    float(found.findtext(f"bndbox/{side}") or "") - offset
                    for side, offset in (("ymin", 1), ("xmin", 1), ("ymax", 0), ("xmax", 0))
                ],
            )
            for found in objects
        ]
    except FileNotFoundError as error:
        raise BadFile(path, "does not exist") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise BadFile(path, f"is no VOC annotation ({error})") from error
