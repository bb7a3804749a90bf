"""Conversion to folders of pictures: what becomes background, what is left out, and going on."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.builders import png, write_builder
from data.records import example, write_records
from PIL import Image

from slots.data import FolderConfig

SCRIPTS = Path(__file__).parents[1] / "scripts"
CAMERAS = ("input_camera_0", "target_camera")

Convert = Callable[..., str]


@pytest.fixture
def convert(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Convert:
    """Runs the script on a folder `out` and returns what it printed."""
    monkeypatch.syspath_prepend(SCRIPTS)

    def call(kind: str, split: str, *words: object) -> str:
        capsys.readouterr()
        words = (kind, tmp_path / "out", split, *words)
        monkeypatch.setattr(sys, "argv", ["to_folder.py", *map(str, words)])
        import_module("to_folder").main()
        return capsys.readouterr().out

    return call


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def grey(value: int, *shape: int) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


INSTANCES = np.array([[1, 1, 1, 1], [1, 2, 2, 0], [1, 34, 34, 1], [1, 1, 1, 1]], np.uint8)
LABELS = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 33, 33, 0], [0, 0, 0, 0]]


@pytest.fixture
def sunds(tmp_path: Path) -> Path:
    """Two frames of two cameras, as SunDS specifies frames."""
    import tensorflow_datasets as tfds

    f, one = tfds.features, np.float32
    pose = {"R": f.Tensor(shape=(3, 3), dtype=one), "t": f.Tensor(shape=(3,), dtype=one)}
    camera = {
        "intrinsics": {"image_width": np.int32, "K": f.Tensor(shape=(3, 3), dtype=one)},
        "extrinsics": pose,
        "color_image": f.Image(shape=(4, 4, 3)),
        "instance_image": f.LabeledImage(labels=None, shape=(4, 4, 1)),
        "ray_origins": f.Tensor(shape=(4, 4, 3), dtype=one, encoding="zlib"),
    }
    described = {"scene_name": f.Text(), "frame_name": f.Text(), "pose": pose}
    features = f.FeaturesDict(described | {"cameras": dict.fromkeys(CAMERAS, camera)})

    def frame(number: int) -> dict[str, Any]:
        here = {"R": np.eye(3, dtype=one), "t": np.zeros(3, one)}
        views = {
            name: {
                "intrinsics": {"image_width": 4, "K": np.eye(3, dtype=one)},
                "extrinsics": here,
                "color_image": png(grey(10 * number + view, 4, 4)),
                "instance_image": png(INSTANCES),
                "ray_origins": np.zeros((4, 4, 3), one),
            }
            for view, name in enumerate(CAMERAS)
        }
        return {"scene_name": "s", "frame_name": "f", "pose": here, "cameras": views}

    splits = {"train": [[frame(0)], [frame(1)]], "validation": [[frame(2)]]}
    return write_builder(tmp_path / "multi_shapenet" / "2.8.0", features, splits, "tfrecord")


class TestSunds:
    def test_every_view_is_a_picture(self, convert, sunds, tmp_path):
        text = convert("sunds", "train", sunds)
        assert "4 pictures: 4 written, 0 there already, 0 left out" in text
        folder = tmp_path / "out" / "train"
        views = [f"{n:07}_cameras-{camera}.png" for n in range(2) for camera in CAMERAS]
        assert names(folder / "images") == names(folder / "masks") == views
        greys = [read(folder / "images" / name)[0, 0, 0] for name in views]
        assert greys == [0, 1, 10, 11]
        np.testing.assert_array_equal(read(folder / "masks" / views[3]), LABELS)

    def test_the_folder_reads(self, convert, sunds, tmp_path):
        convert("sunds", "train", sunds)
        convert("sunds", "validation", sunds, "--crop", 2)
        data = FolderConfig(path=str(tmp_path / "out"), image_size=(2, 2)).make()
        assert [data.size(split) for split in ("train", "val")] == [4, 2]
        batch = next(data.held_out("val", 2))
        np.testing.assert_array_equal(batch.segmentation[0], [[1, 1], [33, 33]])

    def test_goes_on_with_what_is_missing(self, convert, sunds, tmp_path):
        convert("sunds", "train", sunds)
        images = tmp_path / "out" / "train" / "images"
        first, second, *_ = sorted(images.iterdir())
        first.unlink()
        second.write_bytes(b"not written again")
        text = convert("sunds", "train", sunds)
        assert "4 pictures: 1 written, 3 there already" in text
        assert first.exists()
        assert second.read_bytes() == b"not written again"

    def test_stopped_between_mask_and_picture(self, convert, sunds, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(SCRIPTS)
        script = import_module("to_folder")
        save, calls = script._save, iter(range(100))

        def stop(array: np.ndarray, path: Path) -> None:
            if next(calls) == 3:
                raise KeyboardInterrupt
            save(array, path)

        monkeypatch.setattr(script, "_save", stop)
        with pytest.raises(SystemExit, match="the same command goes on"):
            convert("sunds", "train", sunds)
        monkeypatch.setattr(script, "_save", save)
        assert "1 there already" in convert("sunds", "train", sunds)
        FolderConfig(path=str(tmp_path / "out")).make()

    @pytest.mark.parametrize(
        ("split", "words", "sentence"),
        [
            ("test", [], "has no split 'test'; it has train, validation"),
            ("train", ["--crop", 5], "is 4x4 pixels, too small for --crop 5"),
            ("train", ["another"], "another is one source too many"),
        ],
    )
    def test_mistakes(self, convert, sunds, split, words, sentence):
        with pytest.raises(SystemExit, match=sentence):
            convert("sunds", split, sunds, *words)

    def test_other_settings_than_it_was_begun_with(self, convert, sunds):
        convert("sunds", "train", sunds, "--crop", 2)
        with pytest.raises(SystemExit, match="was begun with sunds --crop 2, not with sunds;"):
            convert("sunds", "train", sunds)

    def test_the_folder_above(self, convert, sunds):
        with pytest.raises(SystemExit, match=r"no version of a TFDS set; .* inside, 2\.8\.0"):
            convert("sunds", "train", sunds.parent)

    def test_no_instances(self, convert, tmp_path):
        import tensorflow_datasets as tfds

        features = tfds.features.FeaturesDict({"color_image": tfds.features.Image()})
        folder = write_builder(tmp_path / "a" / "1.0.0", features, {"train": []})
        with pytest.raises(SystemExit, match="has no color_image with an instance_image beside"):
            convert("sunds", "train", folder)


@pytest.fixture
def obsurf(tmp_path: Path) -> Path:
    """Scenes 7 and 10 are train, 80,000 val, 85,000 nothing; pictures carry alpha."""
    folder = tmp_path / "multi_shapenet"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for scene in (7, 10, 80_000, 85_000):
        for view in range(2):
            picture = np.full((4, 6, 4), scene % 251 + view, np.uint8)
            (folder / "images" / f"img_{scene}_{view}.png").write_bytes(png(picture))
            mask = np.tile(np.arange(6, dtype=np.uint8), (4, 1))
            (folder / "masks" / f"masks_{scene}_{view}.png").write_bytes(png(mask))
    return folder


class TestObsurf:
    def test_scenes_fall_into_splits_by_number(self, convert, obsurf, tmp_path):
        convert("obsurf", "train", obsurf)
        convert("obsurf", "val", obsurf, "--crop", 4)
        out = tmp_path / "out"
        scenes = ["img_00007_0.png", "img_00007_1.png", "img_00010_0.png", "img_00010_1.png"]
        assert names(out / "train" / "images") == scenes
        assert names(out / "val" / "masks") == ["img_80000_0.png", "img_80000_1.png"]
        np.testing.assert_array_equal(read(out / "train" / "images" / scenes[3]), grey(11, 4, 6))
        np.testing.assert_array_equal(read(out / "train" / "masks" / scenes[0])[0], range(6))
        np.testing.assert_array_equal(
            read(out / "val" / "masks" / "img_80000_0.png")[0], range(1, 5)
        )

    def test_mistakes(self, convert, obsurf, tmp_path):
        with pytest.raises(SystemExit, match="test stays empty: the source has no pictures"):
            convert("obsurf", "test", obsurf)
        assert not (tmp_path / "out").exists()
        with pytest.raises(SystemExit, match="no split 'valid'; it has train, val, test"):
            convert("obsurf", "valid", obsurf)
        (obsurf / "masks" / "masks_7_1.png").unlink()
        with pytest.raises(SystemExit, match=r"masks_7_1.png does not exist"):
            convert("obsurf", "train", obsurf)
        with pytest.raises(SystemExit, match="nowhere is no folder"):
            convert("obsurf", "train", tmp_path / "nowhere")


def waymo(ids: np.ndarray, value: int = 9, has_mask: int = 1, **changes: Any) -> bytes:
    """A frame as the authors of ISA converted it; bytes are stored one by one."""
    stored = {
        "image": grey(value, 128, 192),
        "segmentations": ids.astype(np.uint8),
        "depth": np.zeros(4, np.float32),
        "num_objects": np.array([2]),
        "has_mask": np.array([has_mask]),
        "camera": np.array([1]),
    }
    return example(stored | changes)


def squares(**pixels: int) -> np.ndarray:
    """A map in which `id<n>` covers that many pixels."""
    ids = np.zeros(128 * 192, int)
    at = 0
    for name, count in pixels.items():
        ids[at : at + count] = int(name.removeprefix("id"))
        at += count
    return ids.reshape(128, 192)


class TestWaymo:
    def test_small_objects_go_and_pictures_without_any(self, convert, tmp_path):
        frames = [
            waymo(squares(id3=244, id9=245, id4=300), value=1),
            waymo(squares(id3=244), value=2),
            waymo(squares(), value=3),
            waymo(squares(id5=1000), value=4, has_mask=0),
            waymo(squares(id49=245, id50=5000), value=5),
        ]
        shard = write_records(tmp_path / "val-00000", frames, "zlib")
        assert "5 pictures: 2 written, 0 there already, 3 left out" in convert(
            "waymo", "val", shard
        )
        folder = tmp_path / "out" / "val"
        kept = ["val-00000_000000.png", "val-00000_000004.png"]
        assert names(folder / "images") == names(folder / "masks") == kept
        assert [read(folder / "images" / name)[0, 0, 0] for name in kept] == [1, 5]
        labels = read(folder / "masks" / kept[0])
        assert np.bincount(labels.ravel()).tolist() == [128 * 192 - 545, 300, 245]
        np.testing.assert_array_equal(labels == 1, squares(id3=244, id9=245, id4=300) == 4)
        assert np.bincount(read(folder / "masks" / kept[1]).ravel())[1:].tolist() == [245]

    def test_the_ten_largest_stay(self, convert, tmp_path):
        ids = squares(**{f"id{n}": 300 + n for n in range(1, 13)})
        convert("waymo", "val", write_records(tmp_path / "v", [waymo(ids)], "zlib"))
        labels = read(tmp_path / "out" / "val" / "masks" / "v_000000.png")
        assert np.bincount(labels.ravel())[1:].tolist() == list(range(312, 302, -1))

    def test_training_needs_no_labels(self, convert, tmp_path):
        frames = [waymo(squares(), has_mask=0), waymo(squares(id1=900))]
        shards = [write_records(tmp_path / f"train-{n}", frames, "zlib") for n in range(2)]
        convert("waymo", "train", *shards)
        folder = tmp_path / "out" / "train"
        assert names(folder) == ["images", "made_by.txt"]
        assert len(names(folder / "images")) == 4

    def test_goes_on_after_a_damaged_file(self, convert, tmp_path):
        frames = [waymo(squares(id1=900), value=n) for n in range(3)]
        shard = write_records(tmp_path / "val-00000", frames, "zlib")
        whole = shard.read_bytes()
        shard.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(SystemExit, match=r"val-00000 ends in the middle of record \d"):
            convert("waymo", "val", shard)
        written = len(names(tmp_path / "out" / "val" / "images"))
        shard.write_bytes(whole)
        assert f"{3 - written} written, {written} there" in convert("waymo", "val", shard)

    @pytest.mark.parametrize("name", ["image", "segmentations"])
    @pytest.mark.parametrize("value", [np.zeros(9, np.uint8), np.zeros(9, np.int64)])
    def test_another_size(self, convert, tmp_path, name, value):
        shard = write_records(tmp_path / "v", [waymo(squares(), **{name: value})], "zlib")
        with pytest.raises(SystemExit, match=f"numbers of '{name}' in record 0, not 128×192"):
            convert("waymo", "val", shard)

    def test_two_files_of_one_name(self, convert, tmp_path):
        shards = [write_records(tmp_path / d / "v", [waymo(squares())], "zlib") for d in "ab"]
        with pytest.raises(SystemExit, match="Two of the files have one name"):
            convert("waymo", "val", *shards)
