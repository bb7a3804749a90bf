"""Conversion to ArrayRecord: the same scenes and records, whenever it is killed, and refusals."""

import dataclasses
import hashlib
import io
import itertools
import json
import re
import resource
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.builders import png, with_videos, write_builder
from data.records import write_records
from data.test_multi_object import SETS, data, scene, write
from PIL import Image

from slots.config import ConfigError
from slots.data.multi_object import ConvertedSource
from slots.data.multi_object_layout import LAYOUTS
from slots.data.pictures import BadFile
from slots.data.stored import Example
from slots.data.tfrecord import iterate

SCRIPTS = Path(__file__).parents[1] / "scripts"
VARIANT = "multi_dsprites_colored_on_colored"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that are quick to write, and room for two scenes in a shard."""
    monkeypatch.syspath_prepend(SCRIPTS)
    for variant, layout in LAYOUTS.items():
        small = dataclasses.replace(layout, picture=(8, 20, layout.picture[-1]))
        monkeypatch.setitem(LAYOUTS, variant, small)
    size = LAYOUTS[VARIANT].dtype.itemsize
    monkeypatch.setattr(import_module("convert"), "SHARD_BYTES", 2 * size)


Convert = Callable[..., str]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Convert:
    """Runs the script and returns what it printed."""

    def call(*words: object) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["convert.py", *map(str, words)])
        import_module("convert").main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five scenes, so that the third and last shard is not full."""
    scenes = [scene(VARIANT, i, objects=1 + i % 4) for i in range(5)]
    return write(tmp_path / "f.tfrecords", scenes)


def words(source: Path, out: Path, variant: str = VARIANT) -> list[object]:
    return ["multi_object", "--variant", variant, source, out]


def checked(out: Path) -> dict[str, Any]:
    """What `checksums.json` says of each file, once it was compared with the files."""
    known = json.loads((out / "checksums.json").read_text())["files"]
    assert {*known, "checksums.json"} == {file.name for file in out.iterdir()}
    for name, entry in known.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"]
    return dict(known)


def records(shard: Path) -> list[bytes]:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return list(ArrayRecordDataSource(str(shard)))


def assert_same(one: Example, other: Example) -> None:
    for field in dataclasses.fields(Example):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "properties":
            assert list(a) == list(b)
            a, b = list(a.values()), list(b.values())
        else:
            a, b = [a], [b]
        for x, y in zip(a, b, strict=True):
            assert getattr(x, "dtype", None) == getattr(y, "dtype", None)
            np.testing.assert_array_equal(x, y)


class TestScenes:
    @pytest.mark.parametrize("variant", SETS)
    def test_are_the_published_files(self, tmp_path: Path, convert, variant):
        most = SETS[variant].entities - SETS[variant].backgrounds
        stored = [scene(variant, i, objects=max(0, most - i)) for i in range(3)]
        source = write(tmp_path / "f.tfrecords", stored)
        convert(*words(source, tmp_path / "out", variant))
        checked(tmp_path / "out")
        one, other = (
            data(path, variant, "train[:3]")._source("train") for path in (source, tmp_path / "out")
        )
        assert len(one) == len(other) == 3
        for i in range(3):
            assert_same(one[i], other[i])
        np.testing.assert_array_equal(one.object_counts(), other.object_counts())

    def test_files(self, tmp_path: Path, source, convert):
        convert(*words(source, tmp_path / "out"))
        known = checked(tmp_path / "out")
        stem = f"{VARIANT}-train.array_record"
        assert {name: entry.get("records") for name, entry in known.items()} == {
            f"{stem}-00000-of-00003": 2,
            f"{stem}-00001-of-00003": 2,
            f"{stem}-00002-of-00003": 1,
            **{"dataset_info.json": None, "features.json": None, "visibility.npy": None},
        }
        made_from = json.loads((tmp_path / "out" / "checksums.json").read_text())["made_from"]
        size = source.stat().st_size
        assert made_from == {"name": "f.tfrecords", "bytes": size} | {
            "variant": VARIANT,
            "records_per_shard": 2,
        }

    def test_load_with_tensorflow_datasets(self, tmp_path: Path, convert):
        import tensorflow_datasets as tfds

        stored = scene("clevr_with_masks", objects=4)
        source = write(tmp_path / "f.tfrecords", [stored])
        convert(*words(source, tmp_path / "out", "clevr_with_masks"))
        (found,) = tfds.builder_from_directory(tmp_path / "out").as_data_source("train")
        np.testing.assert_array_equal(found["image"], stored["image"])
        np.testing.assert_array_equal(found["entities"][0, :, 0], np.arange(20) % 5)
        for name in ("pixel_coords", "visibility", "color"):
            assert found[name].dtype == stored[name].dtype
            np.testing.assert_array_equal(found[name], stored[name])

    def test_entities_are_kept_as_stored(self, tmp_path: Path, convert):
        """Backgrounds, too, so that Objects Room's can be told apart."""
        source = write(tmp_path / "f.tfrecords", [scene("objects_room", objects=2)])
        convert(*words(source, tmp_path / "out", "objects_room"))
        (shard,) = (tmp_path / "out").glob("*.array_record-*")
        from slots.data.tfrecord import parse

        (record,) = records(shard)
        found = parse(record, shard)
        labels = np.asarray(Image.open(io.BytesIO(found["entities"][0])))
        np.testing.assert_array_equal(labels[0], np.arange(20) % 6)
        np.testing.assert_array_equal(found["visibility"], [1, 1, 1, 1, 1, 1, 0])

    def test_every_process_makes_the_same_bytes(self, tmp_path: Path, source, convert):
        """Protocol buffers keep their maps in an order of the process, unless asked not to."""
        from tensorflow_datasets.proto import tf_example_pb2

        convert(*words(source, tmp_path / "out"))
        for shard in (tmp_path / "out").glob("*-of-00003"):
            for record in records(shard):
                again = tf_example_pb2.Example.FromString(record)
                assert record == again.SerializeToString(deterministic=True)
        features = (tmp_path / "out" / "features.json").read_text()
        assert features == json.dumps(json.loads(features), indent=1, sort_keys=True) + "\n"


class Killed(BaseException):
    """Nothing may catch it, like the signal."""


def killed(*_: Any) -> None:
    raise Killed


class TestInterruption:
    @pytest.mark.parametrize("renamed", [False, True])
    def test_whenever_a_file_gets_its_name(self, tmp_path, source, convert, monkeypatch, renamed):
        """Just before or just after each renaming of a run."""
        convert(*words(source, tmp_path / "whole"))
        reference, replace = checked(tmp_path / "whole"), Path.replace
        for last in itertools.count(1):
            out, turns = tmp_path / f"out-{last}", itertools.count(1)

            def deadly(self: Path, to: Path, last: int = last, turns: Any = turns) -> Path:
                if (turn := next(turns)) == last and not renamed:
                    raise Killed
                replace(self, to)
                if turn == last:
                    raise Killed
                return to

            with monkeypatch.context() as patch:
                patch.setattr(Path, "replace", deadly)
                try:
                    convert(*words(source, out))
                except Killed:
                    pass
                else:
                    break
            for shard in out.glob("*.array_record-*[0-9]"):
                assert len(records(shard)) in (1, 2)
            convert(*words(source, out))
            assert checked(out) == reference
        assert last > 10  # three shards get two names each, and notes are written

    def test_goes_on_after_the_last_whole_shard(self, tmp_path, source, convert, monkeypatch):
        script = import_module("convert")
        seen: list[bytes] = []

        def decode(record: bytes, *rest: Any) -> Any:
            seen.append(record)
            if len(seen) == 4:
                raise Killed
            return original(record, *rest)

        original = script.decode
        monkeypatch.setattr(script, "decode", decode)
        with pytest.raises(Killed):
            convert(*words(source, tmp_path / "out"))
        del seen[:]
        text = convert(*words(source, tmp_path / "out"))
        assert seen == list(iterate(source))[2:]
        assert "2 records are there already; skipping them." in text
        checked(tmp_path / "out")
        del seen[:]
        assert convert(*words(source, tmp_path / "out")) == f"{tmp_path}/out is complete.\n"
        assert seen == []

    def test_a_shard_that_was_cut_off_is_made_again(self, tmp_path, source, convert, monkeypatch):
        convert(*words(source, tmp_path / "out"))
        reference = checked(tmp_path / "out")
        shard = tmp_path / "out" / f"{VARIANT}-train.array_record-00001-of-00003"
        shard.write_bytes(shard.read_bytes()[:-70_000])
        with monkeypatch.context() as patch:  # once it is made, and not yet named as the others
            patch.setattr(import_module("convert"), "_visibility", killed)
            with pytest.raises(Killed):
                convert(*words(source, tmp_path / "out"))
        convert(*words(source, tmp_path / "out"))
        assert checked(tmp_path / "out") == reference

    def test_no_space_left(self, tmp_path, source, convert):
        out = tmp_path / "out"
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # of one file
        try:
            with pytest.raises(SystemExit) as stop:
                convert(*words(source, out))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert re.fullmatch(
            rf"{out}/\S+-00000 cannot be written \(write\(\) failed: File too large\); the shards "
            r"before it are whole, and the same command goes on after them\.",
            str(stop.value),
        )
        assert [file.name for file in out.iterdir()] == ["checksums.json"]
        convert(*words(source, out))
        checked(out)

    def test_no_space_left_for_notes(self, tmp_path, source, convert, monkeypatch):
        def full(self: Path, content: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(SystemExit, match=r"out cannot be used \(No space left on device\)\."):
            convert(*words(source, tmp_path / "out"))

    def test_progress(self, tmp_path, source, convert, monkeypatch):
        monkeypatch.setattr(import_module("array_records"), "REPORT_SECONDS", 0.0)
        lines = convert(*words(source, tmp_path / "out")).splitlines()
        assert re.fullmatch(r"5 records, \d+ a second, \d+ min left", lines[3])
        assert lines[4:] == [f"{tmp_path}/out is complete."]


class TestRefusals:
    def refused(self, convert: Convert, *given: object) -> str:
        with pytest.raises(SystemExit) as stop:
            convert(*given)
        assert str(stop.value).count("\n") == 0
        return str(stop.value)

    def test_another_source(self, tmp_path: Path, source, convert):
        convert(*words(source, tmp_path / "out"))
        (tmp_path / "f").mkdir()
        other = write(tmp_path / "f" / "f.tfrecords", [scene(VARIANT)])
        text = self.refused(convert, *words(other, tmp_path / "out"))
        size = source.stat().st_size
        assert f"out is made from bytes={size} name=f.tfrecords records_per_shard=2" in text

    def test_other_settings(self, tmp_path: Path, source, convert, monkeypatch):
        convert(*words(source, tmp_path / "out"))
        monkeypatch.setattr(import_module("convert"), "SHARD_BYTES", 1)
        text = self.refused(convert, *words(source, tmp_path / "out"))
        assert f"records_per_shard=2 variant={VARIANT}, not from" in text
        assert text.endswith(f"records_per_shard=1 variant={VARIANT}; name an empty folder.")

    def test_a_folder_of_something_else(self, tmp_path: Path, source, convert):
        text = self.refused(convert, *words(source, tmp_path))
        assert text == f"{tmp_path} holds files but no checksums.json; name an empty folder."
        text = self.refused(convert, *words(source, source))
        assert text == f"{source} is a file; name a folder to convert to."

    @pytest.mark.parametrize("note", ["", "[]", "{}", '{"made_from": 1, "files": {}}'])
    def test_a_damaged_note(self, tmp_path: Path, source, convert, note):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "checksums.json").write_text(note)
        text = self.refused(convert, *words(source, tmp_path / "out"))
        assert text.endswith("checksums.json is damaged; name an empty folder.")

    def test_a_bad_source(self, tmp_path: Path, source, convert):
        out = tmp_path / "out"
        text = self.refused(convert, *words(tmp_path / "none", out))
        assert text == f"{tmp_path}/none is no file."
        text = self.refused(convert, *words(source, out, "tetrominoes"))
        assert "f.tfrecords does not fit data.variant=tetrominoes" in text
        empty = write(tmp_path / "empty.tfrecords", [])
        text = self.refused(convert, *words(empty, tmp_path / "other"))
        assert text == f"{empty} holds no records."

    def test_a_source_that_is_cut_off(self, tmp_path: Path, source, convert):
        whole = source.read_bytes()
        source.write_bytes(whole[:-2000])
        text = self.refused(convert, *words(source, tmp_path / "out"))
        assert re.search(r"f.tfrecords ends in the middle of record \d\.$", text)
        assert not (tmp_path / "out" / "dataset_info.json").exists()


class TestReaderOfFolders:
    @pytest.fixture
    def out(self, tmp_path: Path, source, convert) -> Path:
        convert(*words(source, tmp_path / "out"))
        return tmp_path / "out"

    def test_objects_are_known_without_reading_scenes(self, out, monkeypatch):
        found = data(out, VARIANT, "train[:5]", scene_objects=2)
        with monkeypatch.context() as patch:
            patch.setattr(ConvertedSource, "_scene", killed)
            assert found.size("val") == 3
        assert next(found.held_out("val", 3)).num_objects.tolist() == [1, 2, 1]

    def test_another_set(self, out):
        with pytest.raises(BadFile, match=f"says that this is {VARIANT}, not data.variant=tetrom"):
            data(out, "tetrominoes").size("train")

    def test_not_finished(self, out):
        (out / "dataset_info.json").unlink()
        with pytest.raises(BadFile, match=r"out is no finished work of scripts/convert.py"):
            data(out, VARIANT).size("train")

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", None])
    def test_no_visibility(self, out, content):
        (out / "visibility.npy").unlink()
        if content is not None:
            (out / "visibility.npy").write_bytes(content)
        with pytest.raises(BadFile, match=r"visibility.npy is missing or damaged"):
            data(out, VARIANT, scene_objects=1).size("train")

    def test_visibility_of_other_scenes(self, out):
        np.save(out / "visibility.npy", np.ones((4, 5), np.uint8))
        with pytest.raises(BadFile, match=r"visibility.npy is not of these 5 scenes"):
            data(out, VARIANT, scene_objects=1).size("train")

    def test_a_missing_shard(self, out):
        next(out.glob("*-00001-of-00003")).unlink()
        with pytest.raises(BadFile, match="00001-of-00003 does not exist"):
            data(out, VARIANT).size("train")

    def test_no_other_range_than_there_is(self, out):
        with pytest.raises(ConfigError, match="holds 5 examples"):
            data(out, VARIANT, "train[:6]").size("train")


class TestTfds:
    @pytest.fixture
    def prepared(self, tmp_path: Path) -> tuple[Path, dict[str, list[bytes]]]:
        """A folder with a Video and classes, and the records of its shards."""
        import tensorflow_datasets as tfds

        image = tfds.features.Image(shape=(4, 6, 3), encoding_format="png")
        features = tfds.features.FeaturesDict(
            {
                "video": tfds.features.Sequence(image, length=2),
                "kind": tfds.features.ClassLabel(names=["cube", "ball"]),
            }
        )
        draw = np.random.default_rng(0)

        def made() -> dict[str, Any]:
            frames = draw.integers(0, 256, (2, 4, 6, 3), np.uint8)
            return {"video": [png(frame) for frame in frames], "kind": int(draw.integers(2))}

        splits = {
            "train": [[made() for _ in range(n)] for n in (2, 1)],
            "validation": [[made()]],
        }
        folder = write_builder(tmp_path / "movi_x" / "4x6" / "1.0.0", features, splits, "tfrecord")
        info = json.loads((folder / "dataset_info.json").read_text())
        for split in info["splits"]:
            split.pop("filepathTemplate", None)
        (folder / "dataset_info.json").write_text(json.dumps(info))
        with_videos(folder, ["video"])
        shards = sorted(folder.glob("*.tfrecord-*"))
        return folder, {file.name: list(iterate(file)) for file in shards}

    def test_records_keep_their_bytes(self, tmp_path: Path, prepared, convert):
        folder, shards = prepared
        convert("tfds", folder, tmp_path / "out")
        checked(tmp_path / "out")
        for name, expected in shards.items():
            found = tmp_path / "out" / name.replace("tfrecord", "array_record")
            assert records(found) == expected
            assert checked(tmp_path / "out")[found.name]["records"] == len(expected)

    def test_loads_with_tensorflow_datasets(self, tmp_path: Path, prepared, convert):
        import tensorflow_datasets as tfds

        convert("tfds", prepared[0], tmp_path / "out")
        builder = tfds.builder_from_directory(tmp_path / "out")
        assert builder.info.features["kind"].names == ["cube", "ball"]
        for split, count in (("train", 3), ("validation", 1)):
            found = builder.as_data_source(split)
            assert len(found) == count
            assert np.shape(found[0]["video"]) == (2, 4, 6, 3)

    def test_goes_on(self, tmp_path: Path, prepared, convert, monkeypatch):
        folder, shards = prepared
        script, original, seen = import_module("convert"), iterate, []

        def watched(path: Path) -> Any:
            seen.append(path.name)
            if len(seen) == 2:
                raise Killed
            return original(path)

        monkeypatch.setattr(script, "iterate", watched)
        with pytest.raises(Killed):
            convert("tfds", folder, tmp_path / "out")
        text = convert("tfds", folder, tmp_path / "out")
        assert seen[2:] == list(shards)[1:]
        assert "2 records are there already; skipping them." in text
        checked(tmp_path / "out")

    def test_a_split_without_files_is_left_out(self, tmp_path: Path, prepared, convert):
        folder, _ = prepared
        for file in folder.glob("*-train.*"):
            file.unlink()
        text = convert("tfds", folder, tmp_path / "out")
        assert f"{folder} has no file of 'train', which is left out." in text
        info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
        assert [split["name"] for split in info["splits"]] == ["validation"]
        assert info["fileFormat"] == "array_record"

    def test_a_shard_is_missing(self, tmp_path: Path, prepared, convert):
        next(prepared[0].glob("*-train.tfrecord-00001-*")).unlink()
        with pytest.raises(SystemExit, match="00001-of-00002 does not exist; 1 of 2 are missing"):
            convert("tfds", prepared[0], tmp_path / "out")

    def test_a_shard_with_too_few_records(self, tmp_path: Path, prepared, convert):
        folder, shards = prepared
        name, *_ = shards
        write_records(folder / name, shards[name][:1])
        with pytest.raises(SystemExit, match=r"holds 1 records, but dataset_info.json says 2\."):
            convert("tfds", folder, tmp_path / "out")
        assert not list((tmp_path / "out").glob("*-00000"))

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"fileFormat": "array_record"}, "says that the records are array_record"),
            ({"splits": [{"name": "train"}]}, "does not say which shards there are"),
            ({"splits": 3}, "does not say which shards there are"),
            ({"splits": []}, "has no TFRecord file of a split"),
        ],
    )
    def test_no_such_folder(self, tmp_path: Path, prepared, convert, changes, reason):
        note = prepared[0] / "dataset_info.json"
        note.write_text(json.dumps(json.loads(note.read_text()) | changes))
        with pytest.raises(SystemExit, match=reason):
            convert("tfds", prepared[0], tmp_path / "out")

    def test_nothing_there(self, tmp_path: Path, convert):
        with pytest.raises(SystemExit, match=r"dataset_info.json does not exist\."):
            convert("tfds", tmp_path / "none", tmp_path / "out")
