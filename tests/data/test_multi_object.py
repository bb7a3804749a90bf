"""Multi-Object Datasets: published layouts bit by bit, what counts as background, and mistakes."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from slots.config import ConfigError
from slots.data import MultiDSpritesConfig, multi_object
from slots.data.multi_object import MultiObjectConfig
from slots.data.multi_object_layout import CODES, LAYOUTS, entity_map
from slots.data.pictures import BadFile
from slots.data.stored import Example, StoredDataset

from .records import example, write_records


class Published(NamedTuple):
    """What the publisher's reader declares."""

    entities: int
    picture: tuple[int, int, int]
    floats: Mapping[str, tuple[int, ...]]
    codes: Sequence[str] = ()
    backgrounds: int = 1
    entities_last: bool = False


def scalars(*names: str, **others: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {**dict.fromkeys(names, ()), **others}


SPRITE = ("x", "y", "shape", "visibility", "orientation", "scale")
ROOM = {"picture": (64, 64, 3), "floats": {}, "backgrounds": 4}
SETS = {
    "tetrominoes": Published(4, (35, 35, 3), scalars("x", "y", "shape", "visibility", color=(3,))),
    "multi_dsprites_binarized": Published(
        4, (64, 64, 1), scalars(*SPRITE, color=(1,)), entities_last=True
    ),
    "multi_dsprites_colored_on_grayscale": Published(
        6, (64, 64, 3), scalars(*SPRITE, color=(3,)), entities_last=True
    ),
    "multi_dsprites_colored_on_colored": Published(
        5, (64, 64, 3), scalars(*SPRITE, color=(3,)), entities_last=True
    ),
    "clevr_with_masks": Published(
        11,
        (240, 320, 3),
        scalars("x", "y", "z", "rotation", "visibility", pixel_coords=(3,)),
        ("size", "material", "shape", "color"),
    ),
    "objects_room": Published(7, **ROOM),
    "objects_room_empty_room": Published(4, **ROOM),
    "objects_room_six_objects": Published(10, **ROOM),
    "objects_room_identical_color": Published(10, **ROOM),
}


def scene(variant: str, seed: int = 0, objects: int | None = None) -> dict[str, np.ndarray]:
    """A record's features in the publisher's shapes; entities are vertical stripes.

    Args:
        variant: which set.
        seed: of pixels and factors.
        objects: how many objects there are; None: all that fit. The others are empty and zero.
    """
    found, draw = SETS[variant], np.random.default_rng(seed)
    height, width, _ = picture = LAYOUTS[variant].picture
    exists = found.entities if objects is None else found.backgrounds + objects
    entities = np.broadcast_to(np.arange(width) % exists, (height, width))
    masks = np.where(entities == np.arange(found.entities)[:, None, None], 255, 0)
    masks = np.moveaxis(masks, 0, -1) if found.entities_last else masks
    features = {"image": draw.integers(0, 256, picture, np.uint8)}
    features["mask"] = masks[..., None].astype(np.uint8)
    for name, shape in found.floats.items():
        features[name] = draw.random((found.entities, *shape)).astype(np.float32)
        features[name][exists:] = 0
    for name in found.codes:
        features[name] = draw.integers(1, 4, found.entities).astype(np.uint8)
        features[name][exists:] = features[name][0] = 0
    if "visibility" in features:
        features["visibility"] = (np.arange(found.entities) < exists).astype(np.float32)
    return features


def write(path: Path, scenes: Sequence[Mapping[str, Any]]) -> Path:
    return write_records(path, [example(features) for features in scenes], "gzip")


@pytest.fixture
def small_clevr(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLEVR's layout with pictures that are quick to write."""
    layout = dataclasses.replace(LAYOUTS["clevr_with_masks"], picture=(6, 22, 3))
    monkeypatch.setitem(LAYOUTS, "clevr_with_masks", layout)


def data(path: Path, variant: str, train: str = "train[:1]", **changes: Any) -> StoredDataset:
    height, width, _ = LAYOUTS[variant].picture
    settings = {"val": train, "image_size": (height, width), **changes}
    return MultiObjectConfig(path=str(path), variant=variant, train=train, **settings).make()  # type: ignore[arg-type]


def read(path: Path, variant: str, count: int = 1) -> list[Example]:
    source = data(path, variant, f"train[:{count}]")._source("train")
    return [source[i] for i in range(len(source))]


@pytest.mark.parametrize("variant", SETS)
def test_decodes_bit_for_bit(tmp_path: Path, variant):
    published, stored = SETS[variant], scene(variant)
    assert stored["image"].shape == published.picture
    path = write(tmp_path / "f.tfrecords", [stored])
    (found,) = read(path, variant)
    np.testing.assert_array_equal(found.image, stored["image"])
    stripes = np.arange(published.picture[1]) % published.entities
    assert found.segmentation is not None
    for row in found.segmentation:
        np.testing.assert_array_equal(row, np.maximum(stripes - published.backgrounds + 1, 0))
    assert set(found.properties) == {*published.floats, *published.codes} - {"visibility"}
    for name, rows in found.properties.items():
        assert rows.dtype == (np.int32 if name in published.codes else np.float32)
        np.testing.assert_array_equal(rows, stored[name][1:])
    objects = published.entities - published.backgrounds
    np.testing.assert_array_equal(found.visibility, np.ones(objects, bool))
    assert data(path, variant).max_objects == objects


def test_all_sets_are_tested():
    assert set(SETS) == set(LAYOUTS)


def test_batches(tmp_path: Path):
    variant = "multi_dsprites_binarized"
    stored = [scene(variant, i, objects) for i, objects in enumerate((3, 2))]
    path = write(tmp_path / "f.tfrecords", stored)
    batch = next(data(path, variant, "train[:2]", channels=1).held_out("val", 2))
    np.testing.assert_array_equal(batch.image, [one["image"] for one in stored])
    assert batch.properties["color"].shape == (2, 3, 1)
    assert batch.num_objects.tolist() == [3, 2]
    assert batch.semantic is batch.ignore is None
    colour = next(data(path, variant, "train[:2]").held_out("val", 2))
    assert colour.image.shape == (2, 64, 64, 3)


class TestEntities:
    def test_ties_and_empty_pixels_are_background(self):
        masks = np.array([[0, 0, 255, 0, 9], [255, 0, 0, 255, 8], [0, 0, 0, 255, 7]], np.uint8)
        np.testing.assert_array_equal(entity_map(masks[:, None]), [[1, 0, 0, 0, 0]])

    def test_maps_of_sprites_are_the_generators(self, tmp_path: Path):
        """Their masks alone are stored with entities last."""
        batch = next(MultiDSpritesConfig().make().held_out("val", 4))
        variant, stored = "multi_dsprites_colored_on_grayscale", []
        for image, labels in zip(np.array(batch.image), np.array(batch.segmentation), strict=True):
            masks = np.where(labels[..., None, None] == np.arange(6)[:, None], 255, 0)
            stored.append(scene(variant) | {"image": image, "mask": masks.astype(np.uint8)})
        found = read(write(tmp_path / "f.tfrecords", stored), variant, 4)
        np.testing.assert_array_equal([one.segmentation for one in found], batch.segmentation)
        np.testing.assert_array_equal([one.image for one in found], batch.image)

    def test_an_object_exists_though_it_is_covered(self, tmp_path: Path):
        stored = scene("tetrominoes")
        stored["mask"][2] = 0
        found = data(write(tmp_path / "f.tfrecords", [stored]), "tetrominoes")
        batch = next(found.held_out("val", 1))
        assert not (np.asarray(batch.segmentation) == 2).any()
        np.testing.assert_array_equal(batch.visibility, [[True, True, True]])


class TestClevr:
    @pytest.mark.usefixtures("small_clevr")
    def test_six_objects_are_seven_visible_entities(self, tmp_path: Path):
        counts = [3, 7, 6, 10, 5]
        stored = [scene("clevr_with_masks", i, count) for i, count in enumerate(counts)]
        assert [int(one["visibility"].sum()) for one in stored] == [4, 8, 7, 11, 6]
        path = write(tmp_path / "f.tfrecords", stored)
        found = data(path, "clevr_with_masks", "train[:5]", scene_objects=6)
        assert found.size("val") == 3
        assert next(found.held_out("val", 3)).num_objects.tolist() == [3, 6, 5]

    def test_codes_are_not_those_of_other_releases(self):
        assert {name: len(codes) for name, codes in CODES.items()} == {
            **{"shape": 3, "size": 2, "material": 2, "color": 8}
        }
        assert (CODES["color"][3], CODES["shape"][1]) == ("green", "sphere")


class TestObjectsRoom:
    @pytest.mark.parametrize(
        ("variant", "objects"),
        [("objects_room", 2), ("objects_room_identical_color", 4), ("objects_room_empty_room", 0)],
    )
    def test_first_four_entities_are_background(self, tmp_path: Path, variant, objects):
        path = write(tmp_path / "f.tfrecords", [scene(variant, objects=objects)])
        found = data(path, variant)
        batch = next(found.held_out("val", 1))
        entities = np.arange(64) % (4 + objects)
        np.testing.assert_array_equal(batch.semantic[0, 0], entities)
        expected = np.where(entities < 4, 0, entities - 3)
        np.testing.assert_array_equal(batch.segmentation[0, 0], expected)
        assert batch.num_objects.tolist() == [objects]
        assert batch.visibility.shape == (1, found.max_objects)
        assert found.semantic_classes == SETS[variant].entities - 1

    def test_the_sky_alone_may_be_background(self, tmp_path: Path):
        path = write(tmp_path / "f.tfrecords", [scene("objects_room", objects=2)])
        found = data(path, "objects_room", backgrounds=1)
        batch = next(found.held_out("val", 1))
        np.testing.assert_array_equal(batch.segmentation[0, 0], np.arange(64) % 6)
        assert batch.num_objects.tolist() == [5]
        assert found.max_objects == 6
        with pytest.raises(ConfigError, match=r"data.backgrounds=5 should be from 1 to 4"):
            data(path, "objects_room", backgrounds=5)

    def test_with_one_wall_the_first_object_is_lost_but_not_in_semantic(self, tmp_path: Path):
        """Three backgrounds and three objects: entity 3 is an object, as nothing says."""
        path = write(tmp_path / "f.tfrecords", [scene("objects_room", objects=2)])
        (found,) = read(path, "objects_room")
        assert found.segmentation is not None
        assert found.semantic is not None
        assert not found.segmentation[found.semantic == 3].any()
        assert (found.semantic == 3).any()


class TestMemory:
    def test_nothing_after_the_largest_stop_is_read(self, tmp_path: Path):
        stored = [example(scene("tetrominoes", i)) for i in range(3)]
        path = write_records(tmp_path / "f.tfrecords", [*stored, b"\xff no example"], "gzip")
        found = data(path, "tetrominoes", "train[1:2]", val="train[:3]")
        assert (found.size("train"), found.size("val")) == (1, 3)
        path.unlink()  # once is enough
        assert len(list(found.held_out("val", 1))) == 3
        write_records(path, [*stored, b"\xff no example"], "gzip")
        with pytest.raises(BadFile, match=r"holds a record that is no tf.train.Example"):
            data(path, "tetrominoes", "train[:4]").size("train")

    def test_says_what_it_reads(self, tmp_path: Path, caplog, monkeypatch):
        monkeypatch.setattr(multi_object, "_PROGRESS_SECONDS", 0.0)
        path = write(tmp_path / "f.tfrecords", [scene("tetrominoes", i) for i in range(2)])
        with caplog.at_level(logging.INFO, "slots"):
            data(path, "tetrominoes", "train[:2]").prepare()
        assert caplog.messages == [
            f"Reading up to 2 scenes of {path} into memory.",
            f"Read 1 of 2 scenes of {path}.",
            f"Read 2 of 2 scenes of {path}.",
        ]

    @pytest.mark.parametrize(
        ("variant", "train", "size"),
        [
            ("clevr_with_masks", "train[:70000]", "70,000 scenes take 20.1 GiB"),
            ("objects_room", "train[100:]", "1,000,000 scenes take 15.3 GiB"),
            ("tetrominoes", "train", "1,000,000 scenes take 4.7 GiB"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path: Path, variant, train, size):
        (tmp_path / "f.tfrecords").write_bytes(b"")
        command = rf"convert.py multi_object --variant {variant} {tmp_path}/f.tfrecords OUT` and"
        with pytest.raises(ConfigError, match=rf"{size} of memory, more than 2; .*{command}"):
            data(tmp_path / "f.tfrecords", variant, train).size("train")

    @pytest.mark.parametrize(
        "variant",
        ["tetrominoes", "multi_dsprites_colored_on_grayscale", "objects_room_six_objects"],
    )
    def test_what_fits(self, tmp_path: Path, variant):
        (tmp_path / "f.tfrecords").write_bytes(b"")
        train = "train" if "room" in variant else "train[:60320]"
        assert len(data(tmp_path / "f.tfrecords", variant, train)._source("train")) == 0


class TestMistakes:
    @pytest.mark.parametrize(
        ("stored", "asked", "reason"),
        [
            ("tetrominoes", "objects_room", "28,672 values of 'mask' in a record, got 4,900"),
            ("objects_room", "objects_room_six_objects", "40,960 values of 'mask' .* got 28,672"),
            ("objects_room_six_objects", "multi_dsprites_binarized", "16,384 values of 'mask'"),
        ],
    )
    def test_another_set(self, tmp_path: Path, stored, asked, reason):
        path = write(tmp_path / "f.tfrecords", [scene(stored)])
        with pytest.raises(
            BadFile, match=f"f.tfrecords does not fit data.variant={asked}, .*{reason}"
        ):
            data(path, asked).size("train")

    @pytest.mark.parametrize("name", ["image", "mask", "color", "visibility"])
    def test_something_is_not_there(self, tmp_path: Path, name):
        stored = scene("tetrominoes")
        del stored[name]
        path = write(tmp_path / "f.tfrecords", [stored])
        with pytest.raises(BadFile, match=f"values of '{name}' in a record, got 0"):
            data(path, "tetrominoes").size("train")

    def test_cut_off(self, tmp_path: Path):
        path = write(tmp_path / "f.tfrecords", [scene("tetrominoes", i) for i in range(3)])
        path.write_bytes(path.read_bytes()[:-4000])
        assert data(path, "tetrominoes").size("train") == 1
        with pytest.raises(BadFile, match=r"f.tfrecords ends in the middle of record 2"):
            data(path, "tetrominoes", "train[:3]").size("train")

    def test_fewer_scenes_than_asked_for(self, tmp_path: Path):
        path = write(tmp_path / "f.tfrecords", [scene("tetrominoes")])
        with pytest.raises(ConfigError, match=r"f.tfrecords holds 1 examples of 'train'"):
            data(path, "tetrominoes", "train[:2]").size("train")

    def test_no_other_stored_name(self, tmp_path: Path):
        path = write(tmp_path / "f.tfrecords", [scene("tetrominoes")])
        with pytest.raises(ConfigError, match="has no scenes named 'test'; write splits as ranges"):
            data(path, "tetrominoes", val="test[:1]").size("val")

    def test_mirroring(self):
        with pytest.raises(ConfigError, match=r"data.flip mirrors pictures, but not where"):
            MultiObjectConfig(flip=True)
