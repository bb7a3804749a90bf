"""TFDS folders: pictures and clips, what features are where, what is not decoded, and damage."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slots.config import ConfigError, override
from slots.data import tfds as reader
from slots.data.pictures import BadFile
from slots.data.tfds import TfdsConfig
from slots.data.tfds_features import loadable

from .builders import png, with_videos, write_builder
from .records import example, write_records

COLORS = ["gray", "blue", "brown", "yellow", "red", "green", "purple", "cyan"]
MOVI = {
    "image": "video",
    "segmentation": "segmentations",
    "visibility": "instances/visibility",
    "boxes": "instances/bboxes",
    "box_frames": "instances/bbox_frames",
    "max_objects": 3,
    "train": "train",
    "image_size": (8, 8),
}
FRAMES = 4
SEEN = [[(0, 5), (2, 6)], [(0, 3), (1, 3), (2, 3), (3, 3)]]
"""The frames and pixels in which a clip's two objects are visible."""


def features() -> Any:
    import tensorflow_datasets as tfds

    return tfds.features


def data(folder: Path, **changes: Any) -> Any:
    return TfdsConfig(path=str(folder), **{"image_size": (4, 6), **changes}).make()


def clevr_features() -> Any:
    f, one = features(), np.float32
    return f.FeaturesDict(
        {
            "image": f.Image(),
            "file_name": f.Text(),
            "objects": f.Sequence(
                {
                    "3d_coords": f.Tensor(shape=(3,), dtype=one),
                    "color": f.ClassLabel(names=COLORS),
                    "rotation": np.float32,
                }
            ),
            "question_answer": f.Sequence({"question": f.Text(), "answer": f.Text()}),
        }
    )


def clevr(number: int, objects: list[tuple[str, float]]) -> Mapping[str, Any]:
    columns = {
        "3d_coords": np.array([[x, 0, 0.35] for _, x in objects], np.float32).reshape(-1, 3),
        "color": [color for color, _ in objects],
        "rotation": np.full(len(objects), 90, np.float32),
    }
    picture = np.full((4, 6, 4), number, np.uint8)  # the files carry alpha
    return {
        "image": png(picture),
        "file_name": f"CLEVR_{number}.png",
        "objects": columns,
        "question_answer": {"question": ["what?"], "answer": ["cube"]},
    }


SCENES = [clevr(0, [("gray", 1.0), ("cyan", -2.0)]), clevr(1, [("red", 3.0)]), clevr(2, [])]
CLEVR = {"properties": ("color=objects/color", "position=objects/3d_coords"), "max_objects": 3}


@pytest.fixture(params=["array_record", "tfrecord"])
def clevr_folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    splits = {"train": [SCENES[:2], SCENES[2:]], "validation": [SCENES[1:2]], "test": [SCENES[2:]]}
    return write_builder(tmp_path / "clevr" / "3.1.0", clevr_features(), splits, request.param)


class TestClevr:
    def test_classes_in_tfds_order_count_from_one(self, clevr_folder):
        found = data(clevr_folder, **CLEVR, val="train[0:3]")
        batch = next(found.held_out("val", 3))
        assert np.asarray(batch.image)[:, 0, 0].tolist() == [[0] * 3, [1] * 3, [2] * 3]
        np.testing.assert_array_equal(batch.properties["color"], [[1, 8, 0], [5, 0, 0], [0, 0, 0]])
        np.testing.assert_array_equal(batch.properties["position"][0, :, 0], [1, -2, 0])
        assert batch.properties["color"].dtype == np.int32
        assert (batch.num_objects.tolist(), batch.segmentation) == ([2, 1, 0], None)
        np.testing.assert_array_equal(batch.visibility[0], [True, True, False])

    def test_published_splits_and_the_empty_one(self, clevr_folder):
        found = data(clevr_folder, **CLEVR, test="test")
        assert [found.size(split) for split in ("train", "val", "test")] == [3, 1, 1]
        batch = next(found.held_out("test", 1))
        assert (batch.num_objects.tolist(), batch.properties["color"].shape) == ([0], (1, 3))

    def test_scenes_by_their_number_of_objects(self, clevr_folder, monkeypatch):
        monkeypatch.setattr(reader, "load_picture", None)
        assert data(clevr_folder, **CLEVR, scene_objects=1).size("train") == 2

    def test_how_many_objects_must_be_set(self, clevr_folder):
        with pytest.raises(ConfigError, match=r"objects there can be; set data.max_objects"):
            _ = data(clevr_folder, properties=CLEVR["properties"]).max_objects
        assert data(clevr_folder).max_objects == 0

    def test_mirroring_is_refused_where_properties_may_be_places(self):
        with pytest.raises(ConfigError, match=r"data\.flip"):
            TfdsConfig(flip=True, properties=("position=objects/3d_coords",))
        assert TfdsConfig(flip=True).flip


def still_features() -> Any:
    f = features()
    return f.FeaturesDict(
        {
            "image": f.Image(shape=(4, 6, 3)),
            "instance_image": f.LabeledImage(labels=40, shape=(4, 6, 1)),
            "category_image": f.LabeledImage(labels=["background", "chair", "table"]),
            "objects": f.Sequence({"bbox": f.BBoxFeature()}, length=2),
            "label": f.ClassLabel(names=["indoor", "outdoor"]),
            "flow": f.Tensor(shape=(4, 6, 2), dtype=np.uint16),
            "packed": f.Tensor(shape=(2, 3), dtype=np.float32, encoding="zlib"),
        }
    )


INSTANCES = np.array([[0, 1, 1, 2, 2, 2], *[[1] * 6] * 2, [1, 1, 3, 3, 3, 34]], np.uint8)
STILL = {
    "image": png(np.full((4, 6, 3), 7, np.uint8)),
    "instance_image": png(INSTANCES),
    "category_image": png((INSTANCES > 1).astype(np.uint8) * 2),
    "objects": {"bbox": np.array([[0, 0.5, 0.25, 1], [0.75, 1 / 3, 1, 5 / 6]], np.float32)},
    "label": "outdoor",
    "flow": np.full((4, 6, 2), 65535, np.uint16),
    "packed": np.ones((2, 3), np.float32),
}


@pytest.fixture
def still(tmp_path: Path) -> Path:
    splits = {"train": [[STILL]], "validation": [[STILL]]}
    return write_builder(tmp_path / "still" / "1.0.0", still_features(), splits)


class TestStills:
    def test_everything_that_can_be_mapped(self, still):
        found = data(
            still,
            segmentation="instance_image",
            label_offset=1,
            semantic="category_image",
            boxes="objects/bbox",
            label="label",
            max_objects=33,
        )
        batch = next(found.held_out("val", 1))
        expected = [[0, 0, 0, 1, 1, 1], *[[0] * 6] * 2, [0, 0, 2, 2, 2, 33]]
        np.testing.assert_array_equal(batch.segmentation[0], expected)
        np.testing.assert_array_equal(batch.semantic[0, 0], [0, 0, 0, 2, 2, 2])
        np.testing.assert_allclose(
            batch.properties["box"][0, :3],
            [[0, 0.5, 0.25, 1], [0.75, 1 / 3, 1, 5 / 6], [0, 0, 0, 0]],
            atol=1e-6,
        )
        assert (found.num_classes, found.semantic_classes) == (2, 2)
        assert (batch.label.tolist(), batch.num_objects.tolist()) == ([1], [3])

    def test_the_features_may_say_how_many_objects(self, still):
        assert data(still, boxes="objects/bbox").max_objects == 2

    def test_boxes_go_with_the_crop(self, still):
        found = data(still, boxes="objects/bbox", crop=(0, 3, 4, 3), image_size=(4, 3))
        batch = next(found.held_out("val", 1))
        np.testing.assert_allclose(batch.properties["box"][0, 0], [0, 0, 0.25, 1], atol=1e-6)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"image": "imag"}, "has no feature 'imag'; did you mean 'image'"),
            ({"segmentation": "zzz"}, "has no feature 'zzz'; it has category_image, flow, image"),
            ({"image": "flow"}, "data.image=flow is no picture"),
            ({"label": "flow"}, "data.label=flow says no classes of the scene"),
            ({"label": "category_image"}, "data.label=category_image says no classes"),
            ({"semantic": "image"}, "data.semantic=image says no classes of pixels"),
            ({"properties": ("a=packed",)}, "data.properties=packed is not numbers"),
            ({"properties": ("a=label",)}, "data.properties=label is not numbers"),
            ({"boxes": "flow"}, "data.boxes=flow is not .top, left"),
        ],
    )
    def test_a_feature_of_another_kind(self, still, changes, words):
        with pytest.raises(ConfigError, match=words):
            data(still, **changes).size("train")

    @pytest.mark.parametrize("text", ["objects/color", "=objects/color", "color="])
    def test_a_property_without_a_name_or_a_path(self, text):
        with pytest.raises(ConfigError, match="should be name=path"):
            TfdsConfig(properties=(text,))

    def test_two_properties_of_one_name(self):
        with pytest.raises(ConfigError, match=r"data.properties has a more than once"):
            TfdsConfig(properties=("a=x", "b=y", "a=z"))

    def test_boxes_at_times_without_boxes(self):
        with pytest.raises(ConfigError, match=r"data.box_frames says when data.boxes are"):
            TfdsConfig(box_frames="instances/bbox_frames")

    def test_properties_are_typed_as_a_list(self):
        typed = override(TfdsConfig(), ["properties=[color=objects/color,place=objects/3d_coords]"])
        assert typed.properties == ("color=objects/color", "place=objects/3d_coords")


def movi_features() -> Any:
    """Of MOVi-A; Videos are described afterwards, see `with_videos`."""
    f, one = features(), np.float32

    def clip(channels: int, dtype: Any = np.uint8) -> Any:
        picture = f.Image(shape=(8, 8, channels), dtype=dtype, encoding_format="png")
        return f.Sequence(picture, length=FRAMES)

    def tensor(*shape: int, dtype: Any = one) -> Any:
        return f.Tensor(shape=shape, dtype=dtype)

    return f.FeaturesDict(
        {
            "video": clip(3),
            "segmentations": clip(1),
            "depth": clip(1, np.uint16),
            "normal": clip(3, np.uint16),
            "object_coordinates": clip(3, np.uint16),
            "forward_flow": tensor(FRAMES, 8, 8, 2, dtype=np.uint16),
            "backward_flow": tensor(FRAMES, 8, 8, 2, dtype=np.uint16),
            "metadata": {
                "video_name": f.Text(),
                **{name: np.int32 for name in ("width", "height", "num_frames")},
                "num_instances": np.uint16,
                **{f"{name}_range": tensor(2) for name in ("depth", "forward_flow")},
            },
            "camera": {
                "focal_length": one,
                "positions": tensor(FRAMES, 3),
                "quaternions": tensor(FRAMES, 4),
            },
            "instances": f.Sequence(
                {
                    "mass": one,
                    "positions": tensor(FRAMES, 3),
                    "bboxes_3d": tensor(FRAMES, 8, 3),
                    "image_positions": tensor(FRAMES, 2),
                    "visibility": tensor(FRAMES, dtype=np.uint16),
                    "bboxes": f.Sequence(f.BBoxFeature()),
                    "bbox_frames": f.Sequence(f.Tensor(shape=(), dtype=np.int32)),
                    "shape_label": f.ClassLabel(names=["cube", "cylinder", "sphere"]),
                    "color": tensor(3),
                    "asset_id": f.Text(),
                    "is_dynamic": np.bool_,
                }
            ),
            "events": {
                "collisions": f.Sequence(
                    {"instances": tensor(2, dtype=np.uint16), "force": one, "frame": np.int32}
                )
            },
        }
    )


def movi(clip: int, objects: int = 2, **changes: Any) -> bytes:
    """Frame t of clip c is grey 10 c + t; object i is in row t, from column 4 i on, where seen."""
    seen = [dict(SEEN[i]) for i in range(objects)]
    labels = np.zeros((FRAMES, 8, 8), np.uint8)
    for i, frames in enumerate(seen):
        for t in frames:
            labels[t, t, 4 * i : 4 * i + 4] = i + 1
    boxes = [[t / 8, i / 2, (t + 1) / 8, i / 2 + 0.5] for i, each in enumerate(seen) for t in each]
    lengths = np.array([len(frames) for frames in seen], np.int64)
    times, each = np.arange(FRAMES, dtype=np.float32), np.arange(objects, dtype=np.float32)
    positions = np.broadcast_to((times + 10 * each[:, None])[..., None], (objects, FRAMES, 3))
    unread = [b"no picture at all"] * FRAMES
    stored = {
        "video": [png(np.full((8, 8, 3), 10 * clip + t, np.uint8)) for t in range(FRAMES)],
        "segmentations": [png(frame) for frame in labels],
        "depth": [png(np.full((8, 8), 257, np.uint16))] * FRAMES,
        "normal": unread,
        "object_coordinates": unread,
        "forward_flow": np.full(FRAMES * 8 * 8 * 2, 65535),
        "backward_flow": np.full(FRAMES * 8 * 8 * 2, 300),
        "metadata/video_name": [b"0"],
        "metadata/width": 8,
        "metadata/height": 8,
        "metadata/num_frames": FRAMES,
        "metadata/num_instances": objects,
        "metadata/depth_range": np.zeros(2),
        "metadata/forward_flow_range": np.zeros(2),
        "camera/focal_length": 35.0,
        "camera/positions": np.zeros(3 * FRAMES),
        "camera/quaternions": np.zeros(4 * FRAMES),
        "instances/mass": each + 1,
        "instances/positions": positions,
        "instances/bboxes_3d": np.zeros(objects * FRAMES * 8 * 3),
        "instances/image_positions": np.zeros(objects * FRAMES * 2),
        "instances/visibility": np.array([[f.get(t, 0) for t in range(FRAMES)] for f in seen]),
        "instances/bboxes/ragged_flat_values": np.array(boxes),
        "instances/bboxes/ragged_row_lengths_0": lengths,
        "instances/bbox_frames/ragged_flat_values": np.array([t for f in seen for t in f]),
        "instances/bbox_frames/ragged_row_lengths_0": lengths,
        "instances/shape_label": np.array([2, 0][:objects]),
        "instances/color": np.zeros(3 * objects),
        "instances/asset_id": [b"a", b"b"][:objects],
        "instances/is_dynamic": np.array([1, 0][:objects]),
        "events/collisions/instances": np.full(10, 65535),
        "events/collisions/force": np.zeros(5),
        "events/collisions/frame": np.zeros(5, np.int64),
    }
    return example({**stored, **changes})


@pytest.fixture(scope="module")
def movi_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds") / "movi_a" / "8x8" / "1.0.0"
    clips = [[movi(0), movi(1)], [movi(2, objects=1)]]
    splits = {"train": clips, "validation": [[movi(3)]]}
    _write_movi(folder, splits, "tfrecord")
    with_videos(folder, ["video", "normal", "object_coordinates"])
    return folder


def _write_movi(folder: Path, splits: Any, file_format: str) -> None:
    """With the builder's name, where the folder above is that of a configuration."""
    write_builder(folder, movi_features(), splits, file_format)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"name": "8x8"', '"name": "movi_a"'))
    for file in folder.glob("8x8-*"):
        file.rename(folder / file.name.replace("8x8-", "movi_a-"))


@pytest.fixture
def movi_folder(movi_once: Path, tmp_path: Path) -> Path:
    """A copy of its own, to damage."""
    return Path(shutil.copytree(movi_once, tmp_path / "movi_a" / "8x8" / "1.0.0"))


class TestClips:
    def test_every_frame_is_an_example(self, movi_once):
        found = data(movi_once, **MOVI, val="train")
        assert found.size("val") == 3 * FRAMES
        batch = next(found.held_out("val", 12))
        expected = [10 * clip + t for clip in range(3) for t in range(FRAMES)]
        assert np.asarray(batch.image)[:, 0, 0, 0].tolist() == expected
        # Row t of the picture shows object 1 on the left in frames 0 and 2, object 2 on the right.
        shown = [[0] * 8 for _ in range(8)]
        shown[2] = [1] * 4 + [2] * 4
        np.testing.assert_array_equal(batch.segmentation[2], shown)
        assert np.unique(batch.segmentation[5]).tolist() == [0, 2]

    def test_boxes_are_those_of_the_frame(self, movi_once):
        batch = next(data(movi_once, **MOVI).held_out("val", FRAMES))
        box = np.asarray(batch.properties["box"])
        # Object 1 is missing in the frames in the middle and at the end.
        np.testing.assert_allclose(box[:, 0, 2], [1 / 8, 0, 3 / 8, 0])
        np.testing.assert_array_equal(box[[1, 3], 0], 0)
        np.testing.assert_allclose(box[1, 1], [1 / 8, 0.5, 2 / 8, 1])
        np.testing.assert_array_equal(box[:, 2], 0)
        np.testing.assert_array_equal(
            np.asarray(batch.visibility)[:, :2], [[True, True], [False, True]] * 2
        )
        assert batch.num_objects.tolist() == [2, 1, 2, 1]

    def test_properties_over_time_and_without(self, movi_once):
        names = (
            "position=instances/positions",
            "mass=instances/mass",
            "moves=instances/is_dynamic",
        )
        names += ("shape=instances/shape_label", "color=instances/color")
        batch = next(data(movi_once, **MOVI, properties=names).held_out("val", FRAMES))
        np.testing.assert_array_equal(batch.properties["position"][:, 0, 0], [0, 1, 2, 3])
        np.testing.assert_array_equal(batch.properties["position"][:, 1, 0], [10, 11, 12, 13])
        np.testing.assert_array_equal(batch.properties["mass"], [[1, 2, 0]] * FRAMES)
        np.testing.assert_array_equal(batch.properties["shape"], [[3, 1, 0]] * FRAMES)
        np.testing.assert_array_equal(batch.properties["moves"], [[1, 0, 0]] * FRAMES)
        assert batch.properties["color"].shape == (FRAMES, 3, 3)

    def test_nothing_else_is_decoded(self, movi_once, monkeypatch):
        decoded = []

        def load(path: Path, channels: int, encoded: bytes) -> np.ndarray:
            decoded.append(encoded)
            return np.zeros((8, 8, 3), np.uint8)

        monkeypatch.setattr(reader, "load_picture", load)
        _ = data(movi_once, image="video")._source("validation")[2]
        assert decoded == [png(np.full((8, 8, 3), 32, np.uint8))]

    def test_scenes_by_what_is_seen(self, movi_once, monkeypatch):
        monkeypatch.setattr(reader, "load_picture", None)
        found = data(movi_once, **MOVI)._source("train")
        assert found.object_counts().tolist() == [2, 1, 2, 1] * 2 + [1, 0, 1, 0]

    def test_a_split_that_movi_a_has_not(self, movi_once):
        with pytest.raises(ConfigError, match="has no split 'test'; it has train, validation"):
            data(movi_once, **MOVI, test="test").size("test")

    def test_clips_without_a_length_in_the_features(self, tmp_path):
        f = features()
        described = f.FeaturesDict({"video": f.Sequence(f.Image(shape=(8, 8, 3)))})
        clips = [{"video": [png(np.zeros((8, 8, 3), np.uint8))] * FRAMES}] * 2
        short = {"video": clips[0]["video"][:3]}
        splits = {"train": [clips], "validation": [[*clips, short]]}
        folder = write_builder(tmp_path / "clips" / "1.0.0", described, splits)
        found = data(folder, image="video")
        assert found.size("train") == 2 * FRAMES
        with pytest.raises(BadFile, match="has a clip of 3 video in place of 4"):
            list(found.held_out("val", 12))

    def test_maps_must_be_of_every_frame(self, tmp_path):
        f = features()
        described = f.FeaturesDict(
            {"video": f.Sequence(f.Image()), "map": f.Image(shape=(8, 8, 1))}
        )
        folder = write_builder(tmp_path / "clips" / "1.0.0", described, {"train": [[]]})
        with pytest.raises(ConfigError, match=r"data.segmentation=map is not one map for each"):
            data(folder, image="video", segmentation="map").size("train")


class TestVideos:
    @pytest.mark.parametrize("legacy", [False, True])
    def test_are_read_as_the_sequences_they_are_stored_as(self, tmp_path, legacy):
        import tensorflow_datasets as tfds

        folder = write_builder(tmp_path / "a" / "1.0.0", movi_features(), {"train": []}, "tfrecord")
        with_videos(folder, ["video", "normal"], legacy)
        text = (folder / "features.json").read_text()
        assert text.count("video_feature.Video") == 2
        described = json.loads(text)
        found = tfds.features.FeatureConnector.from_json(loadable(described))
        assert repr(found) == repr(movi_features())
        assert described == json.loads(text)

    def test_oldest_form(self):
        kind = "tensorflow_datasets.core.features.video_feature.Video"
        content = {"shape": [None, 64, 64, 3], "encoding_format": "png", "ffmpeg_extra_args": []}
        inner = loadable({"a": {"type": kind, "content": content}})["a"]["sequence"]
        assert inner["length"] == "-1"
        assert inner["feature"]["image"] == {
            "shape": {"dimensions": ["64", "64", "3"]},
            "dtype": "uint8",
            "encodingFormat": "png",
        }


class TestDamage:
    def test_the_folder_above_the_versions(self, movi_folder):
        for above in (movi_folder.parent, movi_folder.parent.parent):
            with pytest.raises(ConfigError, match=r"no version of .* inside, (8x8/)?1.0.0\."):
                data(above).size("train")

    def test_no_features(self, movi_folder):
        (movi_folder / "features.json").unlink()
        with pytest.raises(ConfigError, match=r"holds no features.json, .* TFDS set\."):
            data(movi_folder).size("train")

    @pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"splits": 3, "name": "a"}'])
    def test_descriptions(self, movi_folder, name, text):
        (movi_folder / name).write_text(text)
        with pytest.raises(BadFile, match=name):
            data(movi_folder, **MOVI).size("train")

    @pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
    def test_a_class_that_is_not_tfds_own_is_not_imported(self, movi_folder, monkeypatch, key):
        (movi_folder / "stranger.py").write_text("raise SystemExit('ran')")
        monkeypatch.syspath_prepend(movi_folder)
        described = {key: "stranger.Feature", "featuresDict": {"features": {}}, "content": {}}
        (movi_folder / "features.json").write_text(json.dumps(described))
        with pytest.raises(BadFile, match=r"stranger.Feature is not TFDS's own"):
            data(movi_folder).size("train")

    def test_another_format(self, movi_folder):
        info = movi_folder / "dataset_info.json"
        info.write_text(json.dumps({**json.loads(info.read_text()), "fileFormat": "riegeli"}))
        with pytest.raises(ConfigError, match="is stored as riegeli; array_record and tfrecord"):
            data(movi_folder, **MOVI).size("train")

    def test_a_format_is_tfrecord_where_none_is_said(self, movi_folder):
        info = movi_folder / "dataset_info.json"
        described = json.loads(info.read_text())
        del described["fileFormat"]
        info.write_text(json.dumps(described))
        assert data(movi_folder, **MOVI).size("train") == 12

    def test_a_shard_is_missing(self, clevr_folder):
        next(clevr_folder.glob("clevr-train*-00001-of-00002")).unlink()
        with pytest.raises(BadFile, match="-00001-of-00002 does not exist"):
            data(clevr_folder, **CLEVR).size("train")

    def test_a_shard_is_cut_off(self, clevr_folder):
        shard = next(clevr_folder.glob("clevr-train*-00000-of-00002"))
        shard.write_bytes(shard.read_bytes()[:-9])
        with pytest.raises(BadFile, match=r"00000-of-00002 (is damaged or|ends in the middle)"):
            data(clevr_folder, **CLEVR).size("train")

    def test_a_shard_of_another_preparation(self, clevr_folder):
        shards = sorted(clevr_folder.glob("clevr-train*"))
        shutil.copy(shards[0], shards[1])
        with pytest.raises(BadFile, match=r"00001-of-00002 holds 2 records, .*json says 1"):
            data(clevr_folder, **CLEVR).size("train")

    def test_a_record_that_is_none(self, movi_folder):
        _records(movi_folder, [b"junk", b"\x0a\x02\x0a\x00", b""])
        source = data(movi_folder, **MOVI)._source("train")
        for clip in range(2):
            with pytest.raises(BadFile, match=r"of-00001 has a record unlike features.json"):
                source[clip * FRAMES]
        with pytest.raises(
            BadFile, match=r"of-00001 has a record without the feature 'instances/bbox_frames'"
        ):
            source[2 * FRAMES]

    def test_a_record_of_other_shapes(self, movi_folder):
        _records(movi_folder, [movi(0, video=[b""] * 2)])
        with pytest.raises(BadFile, match=r"unlike features.json .*video.*reshape array of size 2"):
            data(movi_folder, image="video")._source("train")[0]

    def test_a_damaged_picture(self, movi_folder):
        _records(movi_folder, [movi(0, segmentations=[b"\x89PNG"] * FRAMES)])
        with pytest.raises(BadFile, match=r"movi_a-train.tfrecord-00000-of-00001 is not a picture"):
            data(movi_folder, **MOVI)._source("train")[0]

    def test_boxes_without_their_frames(self, movi_folder):
        lengths = np.array([3, 3])
        changes = {"instances/bbox_frames/ragged_row_lengths_0": lengths}
        _records(movi_folder, [movi(0, **changes)])
        with pytest.raises(BadFile, match="has boxes and frames of boxes in different numbers"):
            data(movi_folder, **MOVI)._source("train")[0]


def _records(folder: Path, records: list[bytes]) -> None:
    """Puts other records in place of `train`."""
    info = folder / "dataset_info.json"
    described = json.loads(info.read_text())
    for split in described["splits"]:
        if split["name"] == "train":
            split["shardLengths"] = [str(len(records))]
    info.write_text(json.dumps(described))
    write_records(folder / "movi_a-train.tfrecord-00000-of-00001", records)
