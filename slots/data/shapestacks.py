"""ShapeStacks' folders: recordings of stacked blocks with masks and whether they will fall."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from slots.config import ConfigError, nearest
from slots.data.pictures import BadFile, load_picture
from slots.data.records import first_words, located
from slots.data.stored import Example, Source, StoredConfig

_SCENARIO = re.compile(r"env_\w+-(?:easy|hard)-h=(\d+)-vcom=(\d+)-vpsf=(\d+)-v=\d+")
_PICTURE = re.compile(r"rgb-.*cam_(\d+)-mono-0\.png")
_STEP = 32
"""Between the bytes of neighbouring labels in a map."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeStacksConfig(StoredConfig):
    """ShapeStacks (Groth et al. 2018, Oxford Robotics Institute).

    The name `default/train` is the publisher's list `splits/default/train.txt`; there are `train`,
    `eval` and `test` of `default`, `blocks_all`, `ccs_all` and others. Examples are all pictures of
    224x224 pixels in `recordings/` of the scenarios in the list, in its order and within a scenario
    by name. Masks are read from `iseg-*.map` files beside the pictures or, as in older copies, in a
    tree `iseg/`; a copy without any has pictures and labels only. One map serves all textures and
    lights that a camera saw.

    Defaults are those of BO-QSA and SMM: the middle 196 pixels at 128x128. GENESIS uses 64x64,
    the line of SLATE 96x96 [unverified].
    """

    train: str = "default/train"
    val: str = "default/eval"
    test: str = "default/test"
    crop: tuple[int, int, int, int] | None = (14, 14, 196, 196)

    def open(self, name: str) -> "ShapeStacksSource":
        """The scenarios in a list; see `StoredConfig.open`."""
        return ShapeStacksSource(located(self.path), name)


@dataclasses.dataclass(frozen=True, slots=True)
class _Picture:
    scenario: str
    file: str
    camera: str
    height: int
    falls: bool


class ShapeStacksSource(Source):
    """See `ShapeStacksConfig`.

    `Example.label` is the publisher's: 0 for a stack that stands, 1 for one that falls, which is
    one with a violated centre of mass (`vcom`) or planar surface (`vpsf`). The number of objects is
    the stack's height, which its scenario is named after; some may be out of sight.
    """

    max_objects = 6
    num_labels = 2

    def __init__(self, root: Path, name: str):
        self.where = root
        lists = root / "splits"
        found = lists / f"{name}.txt"
        if not found.is_file():
            others = sorted(f"{file.parent.name}/{file.stem}" for file in lists.glob("*/*.txt"))
            raise ConfigError(f"{lists} has no list {name!r}{nearest(name, others) or '.'}")
        self._pictures: list[_Picture] = []
        for scenario in first_words(found):
            if (named := _SCENARIO.fullmatch(scenario)) is None:
                raise BadFile(found, f"names {scenario!r}, which is no scenario of ShapeStacks")
            folder = root / "recordings" / scenario
            self._pictures += _pictures(folder, *map(int, named.groups()))
        self._masked = any(self._map(picture).exists() for picture in self._pictures[:1])

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        picture = self._pictures[index]
        path = self.where / "recordings" / picture.scenario / picture.file
        labels = None
        if self._masked:
            labels = load_picture(self._map(picture), channels=3)[..., 0].astype(np.int32) // _STEP
        return Example(
            image=load_picture(path, channels=3), segmentation=labels, label=int(picture.falls)
        )

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """See `Source`."""
        return np.array([picture.height for picture in self._pictures], np.int32)

    def _map(self, picture: _Picture) -> Path:
        """The masks of what the picture's camera saw."""
        name = f"iseg-w=0-f=0-l=0-c=original-cam_{picture.camera}-mono-0.map"
        beside = self.where / "recordings" / picture.scenario / name
        return beside if beside.exists() else self.where / "iseg" / picture.scenario / name


def _pictures(folder: Path, height: int, center: int, surface: int) -> list[_Picture]:
    """The pictures of a scenario, by name.

    Args:
        folder: the scenario's recordings.
        height: of the stack.
        center: where its centre of mass is violated, 0 where nowhere.
        surface: where its planar surface is, likewise.
    """
    try:
        found = [_PICTURE.fullmatch(file) for file in sorted(os.listdir(folder))]
    except OSError as error:
        raise BadFile(folder, f"cannot be read ({error.strerror})") from error
    falls = center > 0 or surface > 0
    pictures = [_Picture(folder.name, one[0], one[1], height, falls) for one in found if one]
    if not pictures:
        raise BadFile(folder, "holds no pictures, such as rgb-...-cam_1-mono-0.png")
    return pictures
