"""Times readers of stored data against the training steps that consume what they read.

    python -m scripts.benchmark.loading --out docs/results/loading.md

Each row trains a compact preset, on miniature copies in the published layouts whose files have the
published sizes: textured scenes with a camera's noise in place of the published pictures. Three
things take turns: reading batches alone, steps on one batch that lies on the device, and steps on
batches as they are read, which is what training does. Data are in the machine's file cache.
"""

import argparse
import dataclasses
import gzip
import itertools
import json
import os
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from slots import build, presets
from slots.config import override
from slots.data import TetrominoesConfig, TexturedConfig, folder, kept
from slots.data.tfrecord import masked_crc
from slots.provenance import commit, machine

SCENES = 1024
"""In every copy: more than are read ahead, few enough to be made in a minute."""
HELD_OUT = 64
KEPT = kept.CACHE_BYTES


@dataclasses.dataclass(frozen=True)
class Row:
    """A data set and the preset that consumes it."""

    title: str
    preset: str
    make: Callable[[Path], list[str]]
    """Writes a copy into the folder, and gives the settings that read it."""


def textured(height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures uint8 [h, w, 3] and label maps uint8 [h, w] of `SCENES` textured scenes."""
    noise = np.random.default_rng(0)
    for batch in TexturedConfig(held_out_size=SCENES).make().held_out("val", 64):
        for image, labels in zip(*jax.device_get((batch.pixels, batch.segmentation)), strict=True):
            picture = Image.fromarray((image * 255).astype(np.uint8)).resize((width, height))
            noisy = np.asarray(picture) + noise.normal(0, 3, (height, width, 3))
            found = Image.fromarray(labels.astype(np.uint8)).resize((width, height), 0)
            yield np.clip(noisy, 0, 255).astype(np.uint8), np.asarray(found)


def published_tetrominoes(folder: Path) -> list[str]:
    """A GZIP TFRecord with one byte a list element, as published."""
    from tensorflow_datasets.proto import tf_example_pb2

    data = TetrominoesConfig(held_out_size=SCENES).make()
    path = folder / "tetrominoes_train.tfrecords"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for batch in data.held_out("val", 64):
            images, maps = jax.device_get((batch.image, batch.segmentation))
            for image, labels in zip(images, maps, strict=True):
                example = tf_example_pb2.Example()
                features = example.features.feature
                masks = (labels == np.arange(4)[:, None, None]).astype(np.uint8) * 255
                for name, array in (("image", image), ("mask", masks)):
                    values = [bytes([byte]) for byte in array.ravel().tolist()]
                    features[name].bytes_list.value.extend(values)
                for name, width in (("x", 4), ("y", 4), ("shape", 4), ("color", 12)):
                    features[name].float_list.value.extend([0.0] * width)
                features["visibility"].float_list.value.extend([1.0] * 4)
                record = example.SerializeToString()
                header = struct.pack("<Q", len(record))
                file.write(header + struct.pack("<I", masked_crc(header)) + record)
                file.write(struct.pack("<I", masked_crc(record)))
    return _multi_object(path)


def _multi_object(path: Path) -> list[str]:
    return [
        "data=multi_object",
        "data.variant=tetrominoes",
        f"data.path={path}",
        f"data.train=train[{HELD_OUT}:{SCENES}]",
        f"data.val=train[:{HELD_OUT}]",
        "data.image_size=[35,35]",
    ]


def converted_tetrominoes(folder: Path) -> list[str]:
    """The same as records that can be picked, with PNG pictures."""
    published_tetrominoes(folder)
    convert = [sys.executable, "scripts/convert.py", "multi_object", "--variant", "tetrominoes"]
    names = [str(folder / "tetrominoes_train.tfrecords"), str(folder / "out")]
    subprocess.run([*convert, *names], check=True, capture_output=True)
    return _multi_object(folder / "out")


def clevrtex(folder: Path) -> list[str]:
    """PNG pictures and masks of 240×320 pixels, the middle square of 192."""
    place = folder / "clevrtex_full" / "0"
    place.mkdir(parents=True)
    for number, (picture, labels) in enumerate(textured(240, 320)):
        part = folder / "clevrtex_full" / str(number // 1000)
        part.mkdir(exist_ok=True)
        stem = part / f"CLEVRTEX_full_{number:06}"
        Image.fromarray(picture).save(f"{stem}.png")
        Image.fromarray(labels, "P").save(f"{stem}_flat.png")
        objects = [
            {
                "shape": "cube",
                "size": "large",
                "material": "marble13",
                "color": "red",
                "rotation": 0.0,
                "3d_coords": [0.0, 0.0, 0.4],
                "pixel_coords": [160, 120, 10.0],
            }
        ] * int(labels.max())
        Path(f"{stem}.json").write_text(json.dumps({"objects": objects}))
    return [
        "data=clevrtex",
        f"data.path={folder}",
        f"data.train=all[{HELD_OUT}:]",
        f"data.val=all[:{HELD_OUT}]",
        "data.test=",
        "data.image_size=[64,64]",
    ]


def coco(folder: Path) -> list[str]:
    """JPEG pictures of 480×640 pixels with five polygons each."""
    for name in ("train2017", "val2017", "annotations"):
        (folder / name).mkdir()
    images, annotations = [], []
    draw = np.random.default_rng(0)
    for number, (picture, _) in enumerate(textured(480, 640)):
        file = f"{number:012}.jpg"
        Image.fromarray(picture).save(folder / "train2017" / file, quality=90)
        images.append({"id": number, "file_name": file, "height": 480, "width": 640})
        for _ in range(5):
            center, radius = draw.uniform((100, 100), (540, 380)), draw.uniform(20, 90)
            angles = np.sort(draw.uniform(0, 2 * np.pi, 24))
            corners = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "area": 1.0,
                    "bbox": [*(center - radius), 2 * radius, 2 * radius],
                    "segmentation": [corners.ravel().tolist()],
                }
            )
    categories = [{"id": 1, "name": "thing", "supercategory": "thing"}]
    found = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(found))
    return [
        "data=coco",
        f"data.path={folder}",
        "data.val=",
        "data.image_size=[64,64]",
        "data.label_size=[64,64]",
    ]


def pictures(folder: Path) -> list[str]:
    """PNG pictures and masks of 64×64 pixels."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number, (picture, labels) in enumerate(textured(64, 64)):
        Image.fromarray(picture).save(folder / "images" / f"{number:05}.png")
        Image.fromarray(labels).save(folder / "masks" / f"{number:05}.png")
    return ["data=folder", f"data.path={folder}", "data.image_size=[64,64]"]


NOTES = """\
Each row trains a compact preset on a miniature copy in the published layout, whose files have the
published sizes (textured scenes with a camera's noise; 1,024 of them, in the machine's file cache).
"Read alone" is what the reader gives while nothing else runs, "step alone" what steps consume on
a batch that lies on the device; the last column is the time of a step with reading beside it over
one without. Sets that fit into `slots.data.kept.CACHE_BYTES` are kept once they were read; each is
also measured as one that does not fit, which is read and decoded at every visit.
"""

SMALL, LARGE = "slot_attention/tetrominoes_cpu", "slot_attention/multi_dsprites_cpu"
ROWS = {
    "generated": Row("Tetrominoes, generated", SMALL, lambda _: []),
    "published": Row("Tetrominoes, the published file", SMALL, published_tetrominoes),
    "converted": Row("Tetrominoes, converted to ArrayRecord", SMALL, converted_tetrominoes),
    "folder": Row("a folder of 64×64 PNG", LARGE, pictures),
    "clevrtex": Row("CLEVRTex, 240×320 PNG, brought to 64×64", LARGE, clevrtex),
    "coco": Row("COCO, 480×640 JPEG and polygons, brought to 64×64", LARGE, coco),
}


def measure(row: Row, keep: bool, rounds: int, seconds: float) -> dict[str, float]:
    """Pictures read per second alone, and seconds of a step with and without reading."""
    kept.CACHE_BYTES = folder.CACHE_BYTES = KEPT if keep else 0
    with tempfile.TemporaryDirectory() as place:
        settings = ["mesh.data=1", *row.make(Path(place))]
        trainer = build(override(presets.load(row.preset), settings)).trainer
        size = trainer.train.batch_size
        batches = trainer.batches(0)
        batch = next(batches)
        step = trainer.step().lower(trainer.init(), batch).compile()
        state = trainer.init()

        def steps(stream: Iterator[Any], count: int) -> float:
            nonlocal state
            previous: Any = None
            start = time.perf_counter()
            for _ in range(count):
                state, found = step(state, next(stream))
                jax.block_until_ready(previous)  # as the loop does: one step ahead, no more
                previous = found
            jax.block_until_ready((state, previous))
            return (time.perf_counter() - start) / count

        def read(count: int) -> float:
            start = time.perf_counter()
            for _ in range(count):
                jax.block_until_ready(next(batches))
            return (time.perf_counter() - start) / count

        lying = iter(lambda: batch, None)
        turns: dict[str, Callable[[int], float]] = {
            "read": read,
            "lying": lambda n: steps(lying, n),
            "read and step": lambda n: steps(batches, n),
        }
        counts = {name: max(3, round(seconds / turn(10))) for name, turn in turns.items()}
        found: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(rounds):
            for name, turn in turns.items():
                found[name].append(turn(counts[name]))
        medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        "images per second": size / medians["read"],
        "wanted": size / medians["lying"],
        "ratio": medians["read and step"] / medians["lying"],
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark.loading")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=[*ROWS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn; default 3")
    parser.add_argument("--out", type=Path, help="file for the table, which is printed too")
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "-m", "scripts.benchmark.loading", *arguments])
    if tunables := os.environ.get("GLIBC_TUNABLES"):
        command = f"GLIBC_TUNABLES={tunables} {command}"
    lines = [
        "# Readers beside the steps that consume what they read",
        "",
        f"`{command}`, commit {commit()}, {machine()}.",
        "",
        NOTES,
        "| data | kept | preset | read alone, images/s | step alone, images/s | with reading |",
        "|---|---|---|---|---|---|",
    ]
    for name, keep in itertools.product(options.rows, (True, False)):
        row = ROWS[name]
        if name == "generated" and not keep:
            continue
        found = measure(row, keep, options.rounds, options.seconds)
        stands = "–" if name == "generated" else "yes" if keep else "no"
        lines.append(
            f"| {row.title} | {stands} | `{row.preset}` | {found['images per second']:,.0f} | "
            f"{found['wanted']:,.0f} | {found['ratio']:.2f} |"
        )
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
