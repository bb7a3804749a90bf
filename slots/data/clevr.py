"""CLEVR's folders: pictures of rendered scenes, and what is in each scene."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int32

from slots.config import ConfigError, nearest
from slots.data.pictures import BadFile, load_picture
from slots.data.records import located
from slots.data.stored import Example, Source, StoredConfig
from slots.properties import LAYOUTS

MAX_OBJECTS = 10
CATEGORIES: Mapping[str, tuple[str, ...]] = dict(LAYOUTS["clevr"].categories)
"""Names of the classes of `size`, `material`, `shape` and `color`, from 1 on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClevrConfig(StoredConfig):
    """CLEVR v1.0 (Johnson et al. 2017, Stanford and Facebook): the folder `CLEVR_v1.0`.

    The name `val` stands for `images/val/*.png`, in the order of their names, described by
    `scenes/CLEVR_val_scenes.json`; other names, such as CoGenT's, likewise. There are 70,000
    pictures in `train` and 15,000 in `val`, of 3 to 10 objects and without masks; `test`, 15,000
    more, has no scenes file and so pictures only.

    Defaults are those of set prediction (Locatello et al. 2020): whole frames of 320x480 pixels
    brought to 128x128 without antialiasing, results on all of `val`. Their discovery crop
    (29, 64, 192, 192) is meant for frames of 240x320 pixels, as CLEVR with masks has them; of these
    frames it is another region, further up and left [unverified: which the authors' copy had].
    """

    has_positions: ClassVar[bool] = True

    antialias: bool = False

    def open(self, name: str) -> "ClevrSource":
        """The pictures in `images/{name}`; see `StoredConfig.open`."""
        root = located(self.path)
        scenes = root / "scenes" / f"CLEVR_{name}_scenes.json"
        return ClevrSource(subfolder(root / "images", name), scenes if scenes.exists() else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What a scenes file says about one picture."""

    properties: Mapping[str, np.ndarray]
    class_id: Any

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.properties["position"])


class ClevrSource(Source):
    """See `ClevrConfig`. With a scenes file, examples have the properties of `describe`."""

    max_objects = MAX_OBJECTS

    def __init__(self, folder: Path, scenes: Path | None):
        self.where = folder
        self._names = sorted(path.name for path in folder.glob("*.png"))
        self.scenes: list[Scene] = []
        """One per picture; none without a scenes file."""
        if scenes is not None:
            found = read_scenes(scenes)
            if odd := found.keys() ^ set(self._names):
                # One that is left out would move all that follow into other splits.
                raise BadFile(folder / min(odd), f"is either missing or not in {scenes}")
            self.scenes = [found[name] for name in self._names]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        image = load_picture(self.where / self._names[index], channels=3)
        if not self.scenes:
            return Example(image=image)
        scene = self.scenes[index]
        exist = np.ones(scene.count, bool)
        return Example(image=image, properties=scene.properties, visibility=exist)

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """See `Source`."""
        if not self.scenes:
            return super().object_counts()
        return np.array([scene.count for scene in self.scenes], np.int32)


def subfolder(root: Path, name: str) -> Path:
    """The folder `name` in `root`.

    Raises:
        ConfigError: there is none.
    """
    if (root / name).is_dir():
        return root / name
    others = [found.name for found in root.glob("*/")]
    raise ConfigError(f"{root} has no folder {name!r}{nearest(name, others) or '.'}")


def read_scenes(path: Path) -> dict[str, Scene]:
    """The scenes of a CLEVR scenes file, by the names of their pictures.

    Raises:
        BadFile: it is missing, no JSON, or not in CLEVR's layout.
    """

    def shrunk(group: dict[str, Any]) -> Any:
        """A scene without its relations, which are most of the file."""
        if "image_filename" not in group:
            return group
        properties = describe(group["objects"], CATEGORIES)
        scene = Scene(properties=properties, class_id=group.get("class_id"))
        return group["image_filename"], scene

    with scene_file(path):
        return dict(json.loads(path.read_bytes(), object_hook=shrunk)["scenes"])


@contextlib.contextmanager
def scene_file(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a JSON file of CLEVR's family is read becomes a `BadFile`."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadFile(path, "does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise BadFile(path, f"is no JSON file ({error})") from error
    except KeyError as error:
        raise BadFile(path, f"lacks {error}, which CLEVR's scenes have") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise BadFile(path, f"is not in CLEVR's layout ({error})") from error


def describe(
    objects: Sequence[Any], categories: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Properties of the m objects in a file of CLEVR's family.

    - `position` float32 [m, 3]: (x, y, z) in the scene's units, x and y in [-3, 3];
    - `pixel_coords` float32 [m, 3]: (column, row, depth) in the stored picture, before any crop;
    - `rotation` float32 [m]: degrees;
    - each category int32 [m]: the class, from 1.

    Args:
        objects: as they stand in the file.
        categories: names of each category's classes, in the order of their numbers.

    Raises:
        KeyError, TypeError, ValueError: they are not in this layout, or of an unknown class.
    """
    properties: dict[str, np.ndarray] = {
        "position": _numbers(objects, "3d_coords", 3),
        "pixel_coords": _numbers(objects, "pixel_coords", 3),
        "rotation": _numbers(objects, "rotation"),
    }
    for category, classes in categories.items():
        names = [one[category] for one in objects]
        if odd := set(names).difference(classes):
            raise ValueError(f"there is no {category} {min(odd)!r}")
        properties[category] = np.array([classes.index(name) + 1 for name in names], np.int32)
    return properties


def _numbers(objects: Sequence[Any], key: str, *shape: int) -> Float32[np.ndarray, "m *shape"]:
    try:
        numbers = np.array([one[key] for one in objects], np.float32)
    except OverflowError as error:
        raise ValueError(f"{key} is not finite") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{key} is not finite")
    return numbers.reshape(len(objects), *shape)
