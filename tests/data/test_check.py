"""What is at a path: every layout whole and damaged, real samples, parents, and nothing at all."""

import dataclasses
import json
import logging
import shlex
import shutil
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from slots.config import ConfigError, override
from slots.data import DataConfig, catalog, check, check_report
from slots.data.check_report import Finding, Report, lines
from slots.data.stored import StoredConfig

from . import test_clevrtex, test_coco, test_shapestacks, test_voc
from .builders import png, with_videos, write_builder
from .folders import fill, save
from .records import example, write_records
from .test_clevr import CUBE, write_scenes
from .test_clevr import scene as clevr_scene
from .test_hdf5 import sprites
from .test_multi_object import scene, write
from .test_tfds import FRAMES, movi, movi_features

SCRIPTS = Path(__file__).parents[2] / "scripts"


def texts(report: Report, kind: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.kind == kind]


def problem(path: Path, **options: bool) -> str:
    """The only problem that is found."""
    report = check.check(path, **options)
    assert not report.sound
    (text,) = texts(report, "problem")
    return text


def sizes(report: Report, *more: str) -> dict[str, int | None]:
    """Of the splits that the words open, once typed on the command line; reads held-out ones."""
    first, *words = shlex.split(report.words)
    config = DataConfig.kinds[first.removeprefix("data=")]()
    data = override(config, [*(word.removeprefix("data.") for word in words), *more]).make()
    names = [name for name in ("train", "val", "test") if name in data.splits]
    for name in names:
        if name != "train":
            next(data.held_out(name, 1))
    return {name: data.size(name) for name in names}


def publish(monkeypatch: pytest.MonkeyPatch, name: str, key: Any = None, **changes: Any) -> None:
    """Other facts than the catalogue's."""
    known = getattr(catalog, name)
    if key is None:
        monkeypatch.setattr(catalog, name, dataclasses.replace(known, **changes))
    else:
        monkeypatch.setitem(known, key, dataclasses.replace(known[key], **changes))


def grey(path: Path, height: int, width: int, shade: int = 9) -> Path:
    return save(path, np.full((height, width, 3), shade, np.uint8))


class TestSceneFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        scenes = [scene("tetrominoes", seed) for seed in range(12)]
        return write(tmp_path / "tetrominoes_train.tfrecords", scenes)

    def test_a_part(self, file):
        report = check.check(file)
        assert report.name == "Tetrominoes (Multi-Object Datasets)"
        assert report.sound
        assert texts(report, "note") == ["scenes: 12 of 1,000,000"]
        assert texts(report, "ok") == ["read to its end, and its check sum is right"]
        assert sizes(report) == {"train": 11, "val": 1}

    def test_all_that_is_published(self, file, monkeypatch):
        publish(monkeypatch, "SCENES", "tetrominoes", counts={"train": 12})
        assert "scenes: 12, as published" in texts(check.check(file), "ok")
        publish(monkeypatch, "SCENES", "tetrominoes", counts={"train": 11})
        assert problem(file) == "scenes: 12, 11 are published"

    def test_the_first_record_says_what_a_file_of_any_name_is(self, file):
        other = file.rename(file.with_name("x.tfrecords"))
        assert check.check(other, quick=True).name.startswith("Tetrominoes")

    def test_a_layout_of_two_sets(self, tmp_path):
        path = write(tmp_path / "x.tfrecords", [scene("objects_room_six_objects")])
        report = check.check(path, quick=True)
        assert "six objects" in report.name
        assert any(
            text.startswith("or Objects Room identical color") for text in texts(report, "note")
        )
        assert "data.variant=objects_room_six_objects" in report.words

    def test_under_the_name_of_another(self, file):
        other = file.rename(file.with_name("multi_dsprites_binarized.tfrecords"))
        assert "does not fit data.variant=multi_dsprites_binarized" in problem(other)

    def test_cut_off(self, file):
        file.write_bytes(file.read_bytes()[:-2000])
        assert f"{file} ends in the middle of record" in problem(file)
        report = check.check(file, quick=True)
        assert report.sound
        assert texts(report, "note") == [
            "quick: scenes are not counted, their check sum is not verified"
        ]

    def test_a_wrong_check_sum(self, file):
        content = bytearray(file.read_bytes())
        content[-8] ^= 1
        file.write_bytes(content)
        assert "incorrect data check" in problem(file)

    def test_without_compression(self, file):
        write_records(file, [example(scene("tetrominoes"))])
        assert "not gzip: no check sum" in texts(check.check(file), "note")

    def test_empty(self, file):
        write_records(file, [], "gzip")
        assert problem(file) == "scenes: 0, 1,000,000 are published"

    def test_progress(self, file, monkeypatch, caplog):
        monkeypatch.setattr(check_report, "_PROGRESS_SECONDS", 0.0)
        with caplog.at_level(logging.INFO, "slots"):
            check.check(file)
        assert f"Checked 3 of 1,000,000 scenes of {file}." in caplog.messages

    def test_words_of_a_protocol(self, tmp_path):
        path = tmp_path / "clevr_with_masks_train.tfrecords"
        path.write_bytes(b"")
        first, *words = shlex.split(check.check(path, quick=True).words)
        assert first == "data=multi_object"
        config = override(DataConfig.kinds["multi_object"](), [w[5:] for w in words])
        assert (config.variant, config.train) == ("clevr_with_masks", "train[:70000]")
        assert (config.crop, config.antialias) == ((29, 64, 192, 192), False)

    def test_too_large_for_memory(self, tmp_path):
        path = write(tmp_path / "objects_room_train.tfrecords", [scene("objects_room")])
        (note, *_) = (t for t in texts(check.check(path, quick=True), "note") if "GiB" in t)
        assert "convert the file once with `python scripts/convert.py" in note


class TestConverted:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Five scenes in three shards."""
        monkeypatch.syspath_prepend(SCRIPTS)
        script = import_module("convert")
        size = script.LAYOUTS["tetrominoes"].dtype.itemsize
        monkeypatch.setattr(script, "SHARD_BYTES", 2 * size)
        source = write(tmp_path / "f.tfrecords", [scene("tetrominoes", n) for n in range(5)])
        script.convert_multi_object(source, tmp_path / "out", "tetrominoes")
        source.unlink()
        return tmp_path / "out"

    def test_whole(self, folder):
        report = check.check(folder)
        assert report.name == "Tetrominoes (Multi-Object Datasets)"
        assert report.sound
        assert "SHA-256 of 6 files" in texts(report, "ok")
        assert texts(report, "note") == ["train: 5 of 1,000,000"]
        assert sizes(report) == {"train": 4, "val": 1}

    def test_a_changed_file(self, folder):
        table = folder / "visibility.npy"
        table.write_bytes(table.read_bytes()[:-1] + b"\x07")
        assert problem(folder).startswith(f"{table} was changed: its SHA-256")
        report = check.check(folder, quick=True)
        assert report.sound
        assert "quick: check sums are not verified" in texts(report, "note")

    def test_a_missing_file(self, folder):
        (folder / "visibility.npy").unlink()
        text = f"{folder} lacks 1 of 6 files that checksums.json names: visibility.npy"
        assert problem(folder, quick=True) == text

    def test_a_missing_shard(self, folder):
        shard = next(folder.glob("*-00001-of-00003"))
        shard.unlink()
        found = texts(check.check(folder, quick=True), "problem")
        assert found == [
            f"{folder} lacks 1 of 6 files that checksums.json names: {shard.name}",
            "train: 2 of 3 shards are here",
            f"{shard} does not exist",
        ]

    def test_a_truncated_shard(self, folder):
        shard = next(folder.glob("*-00001-of-00003"))
        shard.write_bytes(shard.read_bytes()[:-70_000])
        assert str(shard) in problem(folder, quick=True)

    def test_another_number_of_records(self, folder):
        note = folder / "dataset_info.json"
        info = json.loads(note.read_text())
        info["splits"][0]["shardLengths"] = ["2", "2", "2"]
        note.write_text(json.dumps(info))
        text = problem(folder, quick=True)
        assert text.endswith("00002-of-00003 holds 1 records, but dataset_info.json says 2")

    def test_not_finished(self, folder):
        (folder / "dataset_info.json").unlink()
        assert any(
            "scripts/convert.py goes on where its command is given again" in text
            for text in texts(check.check(folder, quick=True), "problem")
        )

    @pytest.mark.parametrize("name", ["/", "**", "../x", ""])
    def test_a_strangers_names(self, folder, name):
        for note, changes in (
            ("dataset_info.json", {"name": name}),
            ("checksums.json", {"files": {name: {"sha256": ""}}}),
        ):
            known = json.loads((folder / note).read_text())
            (folder / note).write_text(json.dumps(known | changes))
        assert not check.check(folder).sound

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}'])
    def test_damaged_check_sums(self, folder, content):
        (folder / "checksums.json").write_text(content)
        assert str(folder / "checksums.json") in problem(folder)


class TestPrepared:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        path = tmp_path / "movi_a" / "1.0.0"
        splits = {"train": [[movi(0), movi(1)], [movi(2)]], "validation": [[movi(3)]]}
        write_builder(path, movi_features(), splits, "tfrecord")
        with_videos(path, ["video", "segmentations"])
        folder = tmp_path / "movi_a" / "8x8" / "1.0.0"  # its last folders do not name the set
        folder.parent.mkdir()
        return path.rename(folder)

    def test_clips(self, tmp_path, folder):
        report = check.check(tmp_path)  # three folders above
        assert (report.path, report.name, report.sound) == (folder, "MOVi-A", True)
        assert texts(report, "ok")[0] == f"train: {3 * FRAMES}"
        assert "train: 3 of 12 decoded, 8x8 pixels" in texts(report, "ok")
        assert sizes(report) == {"train": 3 * FRAMES, "val": FRAMES}

    def test_pictures_of_another_size_than_the_folder_says(self, tmp_path, folder):
        other = folder.parent.rename(tmp_path / "movi_a" / "128x128")
        found = texts(check.check(other), "problem")
        assert found[0] == "train: pictures of 8x8 pixels, not of 128x128"

    def test_a_split_that_was_not_fetched(self, folder):
        for shard in folder.glob("*-train.*"):
            shard.unlink()
        report = check.check(folder)
        assert report.sound
        assert texts(report, "note") == ["train: 0 of 2 shards are here"]
        assert sizes(report) == {"val": FRAMES}

    def test_a_missing_shard(self, folder):
        next(folder.glob("*-train.tfrecord-00001-*")).unlink()
        found = texts(check.check(folder), "problem")
        assert found[0] == "train: 1 of 2 shards are here"
        assert found[1].endswith("-train.tfrecord-00001-of-00002 does not exist")

    def test_a_truncated_shard(self, folder):
        shard = next(folder.glob("*-validation.*"))
        shard.write_bytes(shard.read_bytes()[:-9])
        assert problem(folder) == f"{shard} ends in the middle of a record"

    def test_any_other_set(self, tmp_path):
        import tensorflow_datasets as tfds

        features = tfds.features.FeaturesDict({"photo": tfds.features.Image(shape=(4, 6, 3))})
        one = {"photo": png(np.zeros((4, 6, 3), np.uint8))}
        folder = write_builder(tmp_path / "holiday" / "1.0.0", features, {"train": [[one]]})
        report = check.check(folder)
        assert (report.name, report.sound) == ("holiday, as TFDS prepares it", True)
        assert sizes(report) == {"train": 1}

    @pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
    def test_a_damaged_description(self, folder, name):
        (folder / name).write_text("{}")
        assert str(folder / name) in texts(check.check(folder), "problem")[0]


class TestClevr:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for split in ("train", "val", "test"):
            names = [f"CLEVR_{split}_{n:06d}.png" for n in range(2)]
            for name in names:
                grey(tmp_path / "images" / split / name, 320, 480)
            if split != "test":
                note = tmp_path / "scenes" / f"CLEVR_{split}_scenes.json"
                write_scenes(note, [clevr_scene(name, [CUBE]) for name in names])
        return tmp_path

    def test_whole(self, folder, monkeypatch):
        publish(monkeypatch, "CLEVR", counts={"train": 2, "val": 2, "test": 3})
        report = check.check(folder)
        assert (report.name, report.sound) == ("CLEVR v1.0", True)
        assert texts(report, "note") == ["test: 2 of 3"]
        assert texts(report, "ok") == [
            "test: 2 of 2 decoded, 480x320 pixels",
            "train: 2, as published",
            "train: 2 of 2 decoded, 480x320 pixels",
            "val: 2, as published",
            "val: 2 of 2 decoded, 480x320 pixels",
        ]
        assert sizes(report) == {"train": 2, "val": 2}

    def test_too_many(self, folder, monkeypatch):
        publish(monkeypatch, "CLEVR", counts={"train": 2, "val": 1, "test": 2})
        assert problem(folder) == "val: 2, 1 are published"

    def test_a_missing_picture(self, folder):
        (folder / "images/val/CLEVR_val_000001.png").unlink()
        first, every = texts(check.check(folder), "problem")
        assert first.startswith(
            f"{folder}/images/val/CLEVR_val_000001.png is either missing or not"
        )
        assert every == (
            f"{folder}/images/val lacks 1 of 2 files that CLEVR_val_scenes.json names: "
            "CLEVR_val_000001.png"
        )

    def test_a_missing_list(self, folder):
        (folder / "scenes" / "CLEVR_train_scenes.json").unlink()
        assert problem(folder) == f"{folder}/scenes/CLEVR_train_scenes.json is missing"

    def test_a_list_that_is_cut_off(self, folder):
        note = folder / "scenes" / "CLEVR_train_scenes.json"
        note.write_text(note.read_text()[:-20])
        assert problem(folder).startswith(f"{note} is no JSON file")

    def test_a_missing_split(self, folder):
        shutil.rmtree(folder / "images" / "train")
        report = check.check(folder)
        assert "not here: train" in texts(report, "note")
        assert sizes(report) == {"val": 2}

    def test_a_damaged_picture(self, folder):
        path = folder / "images" / "test" / "CLEVR_test_000000.png"
        path.write_bytes(path.read_bytes()[:60])
        assert problem(folder).startswith(f"{path} cannot be decoded")

    def test_pictures_that_were_made_smaller(self, folder):
        for path in (folder / "images" / "val").iterdir():
            grey(path, 128, 128)
        assert problem(folder) == "val: pictures of 128x128 pixels, not of 480x320"


class TestClevrHans:
    def build(self, folder: Path, classes: int) -> Path:
        for split in ("train", "val", "test"):
            names = [f"CLEVR_Hans_classid_{c}_{0:06d}.png" for c in range(classes)]
            scenes = [clevr_scene(name, [CUBE], class_id=c) for c, name in enumerate(names)]
            write_scenes(folder / split / f"CLEVR_HANS_scenes_{split}.json", scenes)
            for name in names:
                grey(folder / split / "images" / name, 320, 480)
        return folder

    @pytest.mark.parametrize("classes", [3, 7])
    def test_whole(self, tmp_path, classes):
        report = check.check(self.build(tmp_path / "copy", classes))
        assert (report.name, report.sound) == (f"CLEVR-Hans{classes}", True)
        assert texts(report, "note")[0] == f"train: {classes} of {3_000 * classes:,}"
        assert sizes(report) == {split: classes for split in ("train", "val", "test")}

    def test_missing_files(self, tmp_path):
        folder = self.build(tmp_path, 3)
        (folder / "val" / "CLEVR_HANS_scenes_val.json").unlink()
        next((folder / "test" / "images").iterdir()).unlink()
        found = texts(check.check(folder), "problem")
        assert found[0] == f"{folder}/val/CLEVR_HANS_scenes_val.json does not exist"
        assert "is either missing or not in" in found[1]
        assert f"{folder}/test/images lacks 1 of 3 files" in found[2]


class TestClevrTex:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(test_clevrtex, "LABELS", np.zeros((240, 320), np.uint8))
        for index in range(3):
            test_clevrtex.write(tmp_path, index, [], "camo")
            name = f"CLEVRTEX_camo_{index:06d}.png"
            grey(tmp_path / "clevrtex_camo" / "0" / name, 240, 320)
        return tmp_path / "clevrtex_camo"

    def test_a_part(self, folder):
        report = check.check(folder.parent)
        assert (report.path, report.name, report.sound) == (folder, "CLEVRTex camo", True)
        assert texts(report, "note") == ["all: 3 of 20,000"]
        assert "data.variant=camo" in report.words
        assert sizes(report) == {"train": 2, "val": 1}

    def test_published_parts_are_the_readers(self):
        assert [catalog.CLEVRTEX["full"].settings[part] for part in ("train", "val", "test")] == [
            "all[10000:]", "all[5000:10000]", "all[:5000]"
        ]  # fmt: skip
        assert catalog.CLEVRTEX["camo"].settings["val"] == "all[2000:4000]"

    @pytest.mark.parametrize("ending", [".png", "_flat.png", ".json"])
    def test_a_missing_file(self, folder, ending):
        path = folder / "0" / f"CLEVRTEX_camo_000001{ending}"
        path.unlink()
        assert problem(folder) == f"{path} is missing"


class TestShapeStacks:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        publish(monkeypatch, "SHAPESTACKS", picture=(4, 4))
        return test_shapestacks.folder.__wrapped__(tmp_path)

    def test_whole(self, folder):
        report = check.check(folder)
        assert (report.name, report.sound) == ("ShapeStacks", True)
        assert "default/train: 4" in texts(report, "ok")
        assert "default/train: 3 of 4 decoded, 4x4 pixels" in texts(report, "ok")
        assert sizes(report, "crop=null") == {"train": 4, "val": 3, "test": 1}

    def test_other_sizes(self, folder, monkeypatch):
        publish(monkeypatch, "SHAPESTACKS", picture=(224, 224))
        found = texts(check.check(folder), "problem")
        assert found[0] == "default/eval: pictures of 4x4 pixels, not of 224x224"

    def test_a_missing_scenario(self, folder):
        shutil.rmtree(folder / "recordings" / test_shapestacks.FALLS)
        found = texts(check.check(folder), "problem")
        assert found == [
            f"{folder}/recordings lacks 1 of {count} files that default/{name} names: "
            f"{test_shapestacks.FALLS}"
            for name, count in (("test", 1), ("train", 2))
        ]

    def test_a_missing_map(self, folder):
        name = "iseg-w=0-f=0-l=0-c=original-cam_1-mono-0.map"
        (folder / "recordings" / test_shapestacks.STANDS / name).unlink()
        found = texts(check.check(folder), "problem")
        place = f"{test_shapestacks.STANDS}/{name}"
        assert f"default/train: 1 maps are missing: {place}" in found
        assert f"default/eval: 1 maps are missing: {place}" in found

    def test_maps_in_a_tree_of_their_own(self, folder):
        for path in folder.glob("recordings/*/*.map"):
            path.rename(make(folder / "iseg" / path.parent.name) / path.name)
        assert check.check(folder).sound

    def test_no_maps_at_all(self, folder):
        for path in folder.glob("recordings/*/*.map"):
            path.unlink()
        report = check.check(folder)
        assert report.sound
        assert any("no maps of instances" in text for text in texts(report, "note"))

    def test_no_lists(self, folder):
        shutil.rmtree(folder / "splits")
        assert f"{folder}/splits/default/train.txt is missing" in problem(folder)

    def test_a_list_that_is_no_text(self, folder):
        note = folder / "splits" / "default" / "eval.txt"
        note.write_bytes(b"\xff\xfe\x00")
        assert problem(folder) == f"{note} is no text file with a name a line"


class TestCoco:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        test_coco.store(tmp_path, [test_coco.annotation(test_coco.A)])
        return tmp_path

    def test_a_part(self, folder):
        report = check.check(folder)
        assert (report.name, report.sound) == ("COCO 2017", True)
        assert "val2017: all 3 files that instances_val2017.json names" in texts(report, "ok")
        notes = texts(report, "note")
        assert notes[0].startswith("not here: train2017 (train2017.zip, 18 GB), test2017")
        assert "panoptic (panoptic_annotations_trainval2017.zip, 821 MB)" in notes[0]
        assert "val2017, instances: 3 of 5,000" in notes
        assert sizes(report) == {"val": 3}

    def test_a_missing_picture(self, folder):
        (folder / "val2017" / "000000000009.jpg").unlink()
        found = texts(check.check(folder), "problem")
        assert found[0] == (
            f"{folder}/val2017 lacks 1 of 3 files that instances_val2017.json names: "
            "000000000009.jpg"
        )

    def test_no_annotations(self, folder):
        shutil.rmtree(folder / "annotations")
        report = check.check(folder)
        assert report.sound
        assert "instances (annotations_trainval2017.zip, 241 MB)" in texts(report, "note")[0]
        assert "data.annotations=none" in report.words
        assert sizes(report) == {"val": 3}

    def test_annotations_of_other_pictures(self, folder):
        (folder / "annotations/instances_val2017.json").rename(
            folder / "annotations/instances_train2017.json"
        )
        text = f"{folder}/annotations/instances_val2017.json is missing, though there are others"
        assert problem(folder) == text

    def test_annotations_that_are_cut_off(self, folder):
        note = folder / "annotations" / "instances_val2017.json"
        note.write_bytes(note.read_bytes()[:-9])
        assert problem(folder).startswith(f"{note} is truncated or no JSON")

    def test_a_region_that_cannot_be_drawn(self, folder):
        runs = {"size": [4, 5], "counts": [3]}
        test_coco.store(folder, [test_coco.annotation(runs)])
        assert "has runs that do not fill the picture" in problem(folder)

    def test_missing_maps(self, folder):
        grey(folder / "stuffthingmaps" / "val2017" / "000000000007.png", 4, 5)
        found = texts(check.check(folder), "problem")
        assert found[0].startswith(f"{folder}/stuffthingmaps/val2017 lacks 2 of 3 files")


class TestVoc:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Names as VOC has them; all lists of two pictures."""
        for name in ("2007_000032", "2007_000039"):
            grey(tmp_path / "JPEGImages" / f"{name}.jpg", 4, 4)
            for kind in ("Class", "Object"):
                labels = getattr(test_voc, kind.upper())
                test_voc.palette(tmp_path / f"Segmentation{kind}" / f"{name}.png", labels)
        lists = tmp_path / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        for name in ("train", "val", "trainval", "trainaug"):
            (lists / f"{name}.txt").write_text("2007_000032\n2007_000039\n")
        return tmp_path

    def test_whole(self, folder, monkeypatch):
        counts = {"train": 2, "val": 2, "trainval": 2, "trainaug": 3}
        publish(monkeypatch, "VOC", counts=counts)
        report = check.check(folder)
        assert (report.name, report.sound) == ("Pascal VOC 2012", True)
        assert "val, masks: 2, as published" in texts(report, "ok")
        assert texts(report, "note") == [
            "trainaug: pictures alone, without masks of instances",
            "trainaug, masks: 2 of 3",
        ]
        assert sizes(report) == {"train": 2, "val": 2}

    def test_a_missing_mask(self, folder):
        (folder / "SegmentationObject" / "2007_000039.png").unlink()
        found = texts(check.check(folder), "problem")
        assert found == [
            f"{folder}/SegmentationObject lacks 1 of 2 files that {name}.txt names: 2007_000039.png"
            for name in ("train", "trainval", "val")
        ]

    def test_a_missing_list(self, folder):
        lists = folder / "ImageSets" / "Segmentation"
        (lists / "val.txt").unlink()
        assert problem(folder) == f"{lists}/val.txt is missing"

    def test_no_lists(self, folder):
        shutil.rmtree(folder / "ImageSets")
        assert len(texts(check.check(folder), "problem")) == 3

    def test_the_list_that_is_made_apart(self, folder):
        (folder / "ImageSets" / "Segmentation" / "trainaug.txt").unlink()
        report = check.check(folder)
        assert report.sound
        assert texts(report, "note")[0].startswith("not here: trainaug (trainaug.txt with")
        assert sizes(report) == {"train": 2, "val": 2}


class Uneven:
    """Examples that no reader makes in a test, whose types are checked."""

    where = Path("set")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> SimpleNamespace:
        return SimpleNamespace(image=np.zeros((4, 6, 3)), segmentation=np.zeros((4 - row, 6)))


class UnevenConfig(StoredConfig):
    def open(self, name: str) -> Any:
        return Uneven()


def test_a_mask_of_another_size_than_its_picture():
    found = list(check_report.stored_examples(UnevenConfig(), "train", catalog.Published(name="")))
    assert found == [
        Finding("ok", "train: 2"),
        Finding("problem", "set has example 1 of train with 6x4 pixels and a mask of 6x3"),
    ]


class TestFactors:
    @pytest.fixture
    def shapes(self, tmp_path: Path) -> Path:
        path = tmp_path / "3dshapes.h5"
        with h5py.File(path, "w") as file:
            file["images"] = np.zeros((20, 64, 64, 3), np.uint8)
            file["labels"] = np.zeros((20, 6))
        return path

    def test_3d_shapes(self, shapes, monkeypatch):
        report = check.check(shapes.parent)
        assert (report.name, report.sound) == ("3D Shapes", True)
        assert texts(report, "note") == ["pictures: 20 of 480,000"]
        assert texts(report, "ok") == ["pictures: 3 of 20 decoded, 64x64 pixels"]
        assert sizes(report) == {"train": 18, "val": 2}

    def test_a_damaged_file(self, shapes):
        shapes.write_bytes(shapes.read_bytes()[:-100])
        assert problem(shapes).startswith(f"{shapes} cannot be read")

    @pytest.fixture
    def npz(self, tmp_path: Path) -> Path:
        pictures, classes, values = sprites()
        path = tmp_path / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
        np.savez_compressed(path, imgs=pictures, latents_values=values, latents_classes=classes)
        return path

    def test_dsprites(self, npz):
        report = check.check(npz)
        assert (report.name, report.sound) == ("dSprites", True)
        assert texts(report, "note") == ["pictures: 48 of 737,280"]
        assert sizes(report) == {"train": 48}

    def test_a_wrong_check_sum(self, npz):
        with zipfile.ZipFile(npz) as archive:
            sum_of_values = archive.getinfo("latents_values.npy").CRC.to_bytes(4, "little")
        npz.write_bytes(npz.read_bytes().replace(sum_of_values, bytes(4)))
        assert problem(npz) == f"{npz} is damaged: the check sum of latents_values.npy is wrong"
        assert check.check(npz, quick=True).sound

    def test_without_factors(self, npz):
        np.savez(npz, imgs=np.zeros((2, 64, 64), np.uint8))
        assert "latents_values.npy" in problem(npz)


class TestFolders:
    def test_pictures_with_masks(self, tmp_path):
        fill(tmp_path / "train", 5, masks=True)
        fill(tmp_path / "val", 1, masks=True)
        report = check.check(tmp_path)
        assert (report.name, report.sound) == ("pictures in a folder", True)
        assert texts(report, "ok")[:2] == [
            "train, with masks: 5",
            "train, with masks: 3 of 5 decoded, 8x8 pixels",
        ]
        assert sizes(report) == {"train": 5, "val": 1}

    @pytest.mark.parametrize("quick", [False, True])
    def test_missing_masks(self, tmp_path, quick):
        fill(tmp_path, 8, masks=True)
        images = tmp_path / "images"
        for number in range(1, 6):
            (tmp_path / "masks" / f"0{number}.png").unlink()
        found = texts(check.check(tmp_path, quick), "problem")
        assert found == [
            *(f"{images}/0{n}.png has no mask of its name in the masks folder" for n in (1, 2, 3)),
            "2 more pictures of train are bad",
        ]  # fmt: skip

    def test_damage_that_only_a_whole_look_finds(self, tmp_path):
        fill(tmp_path, 8)
        (tmp_path / "images" / "01.png").write_bytes(b"")
        assert problem(tmp_path) == f"{tmp_path}/images/01.png is empty"
        assert check.check(tmp_path, quick=True).sound

    def test_made_of_waymo(self, tmp_path, monkeypatch):
        publish(monkeypatch, "CONVERTED", "waymo", picture=(8, 8))
        for split in ("train", "val"):
            fill(tmp_path / split, 2, masks=split == "val")
            (tmp_path / split / "made_by.txt").write_text("waymo")
        report = check.check(tmp_path)
        assert report.sound
        assert report.publisher == "Waymo"
        assert texts(report, "note") == ["train: 2 of 158,081", "val, with masks: 2 of 1,872"]
        publish(monkeypatch, "CONVERTED", "waymo", picture=(128, 192))
        assert not check.check(tmp_path).sound

    def test_a_note_that_is_no_text(self, tmp_path):
        (fill(tmp_path / "train", 2) / "made_by.txt").write_bytes(b"\xff\xfe")
        assert check.check(tmp_path).name == "pictures in a folder"

    def test_made_of_multi_shapenet(self, tmp_path):
        fill(tmp_path / "train", 2, masks=True)
        (tmp_path / "train" / "made_by.txt").write_text("obsurf --crop 8")
        report = check.check(tmp_path)
        assert (report.name, report.sound) == ("MultiShapeNet of Stelzner et al. 2021", True)


class TestPlaces:
    def test_several_sets(self, tmp_path):
        fill(tmp_path / "photos", 2)
        write(tmp_path / "tetrominoes" / "tetrominoes_train.tfrecords", [scene("tetrominoes")])
        test_coco.store(make(tmp_path / "coco"), [])
        report = check.check(tmp_path)
        assert report.name == "2 sets"
        assert [part.name for part in report.parts] == [
            "COCO 2017",
            "Tetrominoes (Multi-Object Datasets)",
        ]
        assert texts(report, "note") == ["pictures in photos: give data=folder one of these"]
        assert report.sound
        (tmp_path / "coco" / "val2017" / "000000000009.jpg").write_bytes(b"")
        assert not check.check(tmp_path).sound

    def test_nothing_that_is_known(self, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        (text,) = texts(check.check(tmp_path), "problem")
        assert text.startswith("looked for Tetrominoes")
        assert "data=folder" in text
        assert not check.check(tmp_path / "notes.txt").sound

    def test_another_users_records(self, tmp_path):
        write_records(tmp_path / "x.tfrecords", [example({"image": np.zeros(3, np.uint8)})], "gzip")
        assert check.check(tmp_path).name == "no set that is known"

    def test_a_davis_folder_is_not_vocs(self, tmp_path):
        for place in ("JPEGImages/480p/bear", "Annotations/480p/bear"):
            grey(tmp_path / place / "00000.jpg", 4, 4)
        make(tmp_path / "ImageSets" / "480p")
        assert check.check(tmp_path).name == "no set that is known"

    def test_no_such_path(self, tmp_path):
        make(tmp_path / "CLEVR_v1.0")
        with pytest.raises(ConfigError, match=r"did you mean 'CLEVR_v1.0'\?"):
            check.check(tmp_path / "CLEVR_v10")


def make(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


class TestLines:
    def test_in_order(self):
        findings = (Finding("ok", "train: 3"), Finding("problem", "x.png is missing"))
        part = Report(
            path=Path("b"), name="Set", publisher="Us", source="here", licence="CC0",
            findings=findings, words="data=coco data.path=b",
        )  # fmt: skip
        whole = Report(path=Path("a"), name="1 sets", parts=(part,))
        assert list(lines(whole)) == [
            "a: 1 sets",
            "b: Set, Us",
            "  ok       train: 3",
            "  problem  x.png is missing",
            "  published at here; licence: CC0",
            "  read with data=coco data.path=b",
        ]

    def test_words_can_be_pasted(self, tmp_path):
        fill(make(tmp_path / "my own pictures"), 2)
        report = check.check(tmp_path / "my own pictures")
        assert f"'data.path={tmp_path}/my own pictures'" in report.words
        assert sizes(report) == {"train": 1, "val": 1}


class TestCatalog:
    def known(self) -> list[catalog.Published]:
        single = [one for one in vars(catalog).values() if isinstance(one, catalog.Published)]
        tables = [one for one in vars(catalog).values() if isinstance(one, Mapping)]
        rows = [row for table in tables for row in table.values()]
        return single + [row for row in rows if isinstance(row, catalog.Published)]

    def test_nothing_is_left_open(self):
        found = self.known()
        assert len(found) > 30
        for one in found:
            assert all((one.name, one.publisher, one.source, one.licence)), one

    def test_published_counts(self):
        counts = {variant: one.counts["train"] for variant, one in catalog.SCENES.items()}
        assert counts == {
            **{name: 1_000_000 for name in counts if name.startswith("multi_dsprites_")},
            **{"tetrominoes": 1_000_000, "objects_room": 1_000_000, "clevr_with_masks": 100_000},
            **{name: 922 for name in counts if name.startswith("objects_room_")},
        }
        assert catalog.SHAPES3D.counts == {"all": 480_000}
        assert catalog.DSPRITES.counts == {"all": 737_280}
        assert list(catalog.CLEVR_HANS[7].counts.values()) == [21_000, 5_250, 5_250]


@pytest.mark.data
class TestSamples:
    def test_coco(self, shared_data):
        report = check.check(shared_data / "coco_sample")
        assert (report.name, report.sound) == ("COCO 2017", True)
        assert "val2017, instances: 40 of 5,000" in texts(report, "note")
        assert "panoptic_val2017: all 40 files that panoptic_val2017.json names" in texts(
            report, "ok"
        )
        assert sizes(report) == {"val": 40}

    def test_voc(self, shared_data):
        report = check.check(shared_data / "voc_layout")
        assert (report.name, report.sound) == ("a set in the layout of Pascal VOC", True)
        assert sizes(report) == {"train": 10, "val": 6}

    def test_boxes(self, shared_data):
        report = check.check(shared_data / "blood_cells_voc")
        assert report.sound
        assert "Annotations: all 40 files that train.txt names" in texts(report, "ok")
        assert sizes(report) == {"train": 40, "val": 10}

    def test_pictures(self, shared_data):
        report = check.check(shared_data / "clevr_stills")
        assert (report.name, report.sound) == ("pictures in a folder", True)
        assert texts(report, "ok")[0] == "train: 8"

    def test_all_of_them(self, shared_data):
        report = check.check(shared_data, quick=True)
        found = {part.path.name for part in report.parts}
        assert found >= {"blood_cells_voc", "coco_sample", "voc_layout"}
        assert report.sound
