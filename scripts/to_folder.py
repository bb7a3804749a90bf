"""Writes sets that want a package or an agreement as folders of pictures, for `data=folder`.

    python scripts/to_folder.py sunds OUT train multi_shapenet/2.8.0
    python scripts/to_folder.py obsurf OUT val multi_shapenet --crop 240
    python scripts/to_folder.py waymo OUT val validation-*.tfrecord

Every view of a scene becomes a picture of its own, OUT/<split>/images/NAME.png, with its label map
OUT/<split>/masks/NAME.png: 0 = background, 1 to n = objects. Stopped, the same command goes on with
the pictures that are not there yet; names hold the record's number.

`sunds`: MultiShapeNet as SunDS stores it with TFDS, read without either. Every record is a frame of
one or more cameras, `cameras/<camera>/color_image` and `instance_image`, in which 1 is background
and 0 an error of rendering; both become background.

`obsurf`: MultiShapeNet in the folders of Stelzner et al. 2021, `images/img_<scene>_<view>.png` and
`masks/masks_<scene>_<view>.png`. Scenes 0 to 79,999 are train, 80,000 to 80,499 val, 90,000 to
99,999 test.

`waymo`: Waymo Open's front camera in the ZLIB TFRecords of Biza et al. 2023, 128×192. `train` gets
pictures alone, most of which are not labelled. Elsewhere objects of fewer than 245 pixels become
background, the ten largest stay, largest first, and pictures without any are left out.
"""

import argparse
import dataclasses
import functools
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from slots.config import ConfigError
from slots.data.folder_layout import SPLITS
from slots.data.pictures import BadFile, by_size, load_labels, load_picture
from slots.data.tfds import prepared
from slots.data.tfds_features import Features
from slots.data.tfds_records import Records
from slots.data.tfrecord import iterate, parse

OBSURF = {"train": range(80_000), "val": range(80_000, 80_500), "test": range(90_000, 100_000)}
WAYMO = (128, 192)
WAYMO_PIXELS = 245
WAYMO_IDS = 50
"""Larger ids are not looked at."""
WAYMO_OBJECTS = 10
REPORT_SECONDS = 10.0

Pair = tuple[np.ndarray, np.ndarray | None]
"""uint8 picture [h, w, 3] and int32 labels [h, w]."""


@dataclasses.dataclass(frozen=True)
class View:
    name: str
    read: Callable[[], Pair | None]
    """None: the picture is left out."""


def sunds_views(split: str, sources: list[Path]) -> Iterator[View]:
    folder = prepared(str(_only(sources)))
    features, records = Features(folder), Records(folder, split)
    pairs = {
        path: labels
        for path, spec in features.specs.items()
        if path.rpartition("/")[2] == "color_image" and spec.shape == ()
        if (labels := path.removesuffix("color_image") + "instance_image") in features.kinds
    }
    if not pairs:
        raise ConfigError(f"{folder} has no color_image with an instance_image beside it.")

    def read(number: int, picture: str, labels: str) -> Pair:
        file = records.file(number)
        found = features.read(records[number], (picture, labels), file)
        instances = load_labels(file, found[labels])
        return load_picture(file, 3, found[picture]), np.maximum(instances - 1, 0)

    for number in range(len(records)):
        for picture, labels in sorted(pairs.items()):
            camera = picture.rpartition("/")[0].replace("/", "-") or "view"
            name = f"{number:07}_{camera}"
            yield View(name, functools.partial(read, number, picture, labels))


def obsurf_views(split: str, sources: list[Path]) -> Iterator[View]:
    folder = _only(sources)
    if split not in OBSURF:
        raise ConfigError(f"There is no split {split!r}; it has {', '.join(OBSURF)}.")
    names = (re.fullmatch(r"img_(\d+)_(\d+)\.png", f.name) for f in (folder / "images").glob("*"))
    found = sorted((int(name[1]), int(name[2])) for name in names if name)
    for scene, view in found:
        if scene in OBSURF[split]:
            name = f"{scene}_{view}"
            yield View(f"img_{scene:05}_{view}", functools.partial(_obsurf, folder, name))


def _obsurf(folder: Path, name: str) -> Pair:
    image = load_picture(folder / "images" / f"img_{name}.png", 3)
    return image, load_labels(folder / "masks" / f"masks_{name}.png")


def waymo_views(split: str, sources: list[Path]) -> Iterator[View]:
    if len({file.name for file in sources}) < len(sources):
        raise ConfigError("Two of the files have one name, which their pictures would share.")
    for file in sources:
        for number, record in enumerate(iterate(file)):
            read = functools.partial(_waymo, record, file, number, split != "train")
            yield View(f"{file.name}_{number:06}", read)


def _waymo(record: bytes, file: Path, number: int, labelled: bool) -> Pair | None:
    found = parse(record, file, join=True)

    def pixels(name: str, *shape: int) -> np.ndarray:
        stored = np.asarray(found.get(name, ()))
        if stored.dtype != np.uint8 or len(stored) != math.prod(shape):
            wanted = "×".join(map(str, shape))
            reason = f"has {stored.size:,} numbers of {name!r} in record {number}, not {wanted}"
            raise BadFile(file, reason)
        return stored.reshape(shape)

    image = pixels("image", *WAYMO, 3)
    if not labelled:
        return image, None
    if not np.any(found.get("has_mask", 0)):
        return None
    ids = pixels("segmentations", *WAYMO).astype(np.int32)
    labels = by_size(np.where(ids < WAYMO_IDS, ids, 0), WAYMO_PIXELS, WAYMO_OBJECTS)
    return (image, labels) if labels.any() else None


READERS = {"sunds": sunds_views, "obsurf": obsurf_views, "waymo": waymo_views}


def _only(sources: list[Path]) -> Path:
    if len(sources) > 1:
        raise ConfigError(f"{sources[1]} is one source too many; name one folder.")
    if not sources[0].is_dir():
        raise BadFile(sources[0], "is no folder")
    return sources[0]


def write(views: Iterator[View], folder: Path, crop: int | None, made_by: str) -> str:
    """Writes what is not there yet, and says how many pictures there were."""
    note = folder / "made_by.txt"
    if note.is_file() and (before := note.read_text()) != made_by:
        raise ConfigError(f"{folder} was begun with {before}, not with {made_by}; choose another.")
    counts = {"written": 0, "there already": 0, "left out": 0}
    reported = time.monotonic()
    for view in views:
        counts[done := _write(view, folder, crop)] += 1
        if done == "written":
            note.write_text(made_by)
        if time.monotonic() - reported >= REPORT_SECONDS:
            print(_said(counts), flush=True)
            reported = time.monotonic()
    if not any(counts.values()):
        raise ConfigError(f"{folder} stays empty: the source has no pictures of this split.")
    return _said(counts)


def _said(counts: dict[str, int]) -> str:
    return f"{sum(counts.values()):,} pictures: " + ", ".join(
        f"{n:,} {w}" for w, n in counts.items()
    )


def _write(view: View, folder: Path, crop: int | None) -> str:
    picture = folder / "images" / f"{view.name}.png"
    if picture.exists():
        return "there already"
    pair = view.read()
    if pair is None:
        return "left out"
    image, labels = (array if array is None else _cut(array, crop, view) for array in pair)
    if labels is not None:  # first, so that no picture is ever without its mask
        if labels.shape != image.shape[:2]:
            raise ConfigError(f"{view.name} has a label map of another size than its picture.")
        small = labels.max() < 256
        _save(labels.astype(np.uint8 if small else np.uint16), folder / "masks" / picture.name)
    _save(image, picture)
    return "written"


def _cut(array: np.ndarray, crop: int | None, view: View) -> np.ndarray:
    """The centred square."""
    if crop is None:
        return array
    top, left = (array.shape[0] - crop) // 2, (array.shape[1] - crop) // 2
    if min(top, left) < 0:
        size = f"{array.shape[1]}x{array.shape[0]}"
        raise ConfigError(f"{view.name} is {size} pixels, too small for --crop {crop}.")
    return array[top : top + crop, left : left + crop]


def _save(array: np.ndarray, path: Path) -> None:
    """Under another name first: what has a picture's name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    Image.fromarray(np.ascontiguousarray(array)).save(part, "PNG")
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=READERS)
    parser.add_argument("out", type=Path, help="folder; one that was begun is gone on with")
    parser.add_argument("split", help="as the set calls it, such as train or validation")
    parser.add_argument("sources", type=Path, nargs="+", metavar="SOURCE")
    parser.add_argument("--crop", type=int, metavar="PIXELS", help="side of a centred square")
    options = parser.parse_args()
    if options.crop is not None and options.crop < 1:
        parser.error("--crop should be a positive number of pixels.")
    folder = options.out / SPLITS.get(options.split, options.split)
    try:
        views = READERS[options.kind](options.split, options.sources)
        made_by = options.kind + (f" --crop {options.crop}" if options.crop else "")
        print(f"{write(views, folder, options.crop, made_by)}. {folder} is complete.")
    except ConfigError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or options.out} cannot be used ({error.strerror}).")
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on where it was.")


if __name__ == "__main__":
    main()
