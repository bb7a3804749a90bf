"""Readers of pictures, given files that are damaged or lie about their sizes."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from data import test_clevr, test_coco, test_multi_object, test_voc
from data.folders import dataset, fill
from PIL import Image

from slots.data.check import check
from slots.data.check_report import lines
from slots.data.coco import CocoConfig
from slots.data.hdf5 import Hdf5Config

from .damage import Random, damaged, text
from .targets import Target, instead


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _spoil(rng: Random, path: Path) -> bytes:
    """Other bytes for a file, by its kind."""
    data = path.read_bytes()
    if path.suffix == ".json":
        return text(rng, json.loads(data))
    if path.suffix in (".png", ".jpg") and rng.random() < 0.1:
        return bomb()
    if data[:2] == b"\x1f\x8b" and rng.random() < 0.7:
        return gzip.compress(damaged(rng, gzip.decompress(data)), 1)
    return damaged(rng, data)


def bomb() -> bytes:
    """A PNG that says it has 60,000 × 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    body = chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body


def _target(name: str, make: Callable[[Path], Callable[[], Any]], share: float) -> Target:
    """A set in a folder of its own, of which one file is spoilt before it is opened and read."""

    def prepare(folder: Path) -> Any:
        use = make(folder)
        use()  # it is sound
        return _files(folder), use

    def attempt(state: Any, rng: Random) -> None:
        files, use = state
        path = files[int(rng.integers(len(files)))]
        with instead(path, _spoil(rng, path)):
            use()

    return Target(name, prepare, attempt, share)


def _folder(folder: Path) -> Callable[[], Any]:
    fill(folder, 5, masks=True)
    return lambda: list(dataset(folder).held_out("val", 3))


def _multi_object(folder: Path) -> Callable[[], Any]:
    scenes = [test_multi_object.scene("tetrominoes", seed) for seed in range(2)]
    path = test_multi_object.write(folder / "f.tfrecords", scenes)
    return lambda: test_multi_object.read(path, "tetrominoes", 2)


def _coco(folder: Path) -> Callable[[], Any]:
    annotations = [
        test_coco.annotation(test_coco.A),
        test_coco.annotation(test_coco.RUNS, 9, iscrowd=1),
    ]
    test_coco.store(folder, annotations)

    def use() -> None:
        source = CocoConfig(path=str(folder)).open("val2017")
        for number in range(len(source)):
            source[number]

    return use


def _voc(folder: Path) -> Callable[[], Any]:
    for name in ("a", "b"):
        (folder / "JPEGImages").mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(folder / f"JPEGImages/{name}.jpg")
        test_voc.palette(folder / "SegmentationClass" / f"{name}.png", test_voc.CLASS)
        test_voc.palette(folder / "SegmentationObject" / f"{name}.png", test_voc.OBJECT)
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\na\n")
    return lambda: list(test_voc.data(folder, train="val").held_out("val", 2))


def _clevr(folder: Path) -> Callable[[], Any]:
    for split in ("val", "train"):
        names = [f"CLEVR_{split}_{number:06d}.png" for number in range(2)]
        for name in names:
            test_clevr.picture(folder / "images" / split / name, 40)
        scenes = [test_clevr.scene(name, [test_clevr.CUBE]) for name in names]
        test_clevr.write_scenes(folder / "scenes" / f"CLEVR_{split}_scenes.json", scenes)
    return lambda: list(test_clevr.data(folder).held_out("val", 2))


def _hdf5(folder: Path) -> Any:
    import h5py

    with h5py.File(folder / "f.h5", "w") as file:
        file.create_dataset("image", data=np.zeros((6, 8, 8, 3), np.uint8), compression="gzip")
        file["mask"] = np.zeros((6, 8, 8), np.uint8)
    return (folder / "f.h5").read_bytes()


def _read_hdf5(good: bytes, rng: Random) -> None:
    path = Path(f"{rng.integers(2**62)}.h5").absolute()  # files stay open
    path.write_bytes(damaged(rng, good))
    settings: dict[str, Any] = {"path": str(path), "image_size": (8, 8), "segmentation": "mask"}
    try:
        list(Hdf5Config(**settings, train="all", val="all").make().held_out("val", 2))
    finally:
        path.unlink()


def _checked(folder: Path) -> Callable[[], Any]:
    _coco(folder)
    return lambda: list(lines(check(folder)))


READERS = (
    _target("folders of pictures", _folder, 0.05),
    _target("published TFRecords", _multi_object, 0.05),
    _target("COCO", _coco, 0.05),
    _target("VOC", _voc, 0.03),
    _target("CLEVR", _clevr, 0.03),
    Target("HDF5", _hdf5, _read_hdf5, 0.02),
    _target("`slots data check`", _checked, 0.02),
)
