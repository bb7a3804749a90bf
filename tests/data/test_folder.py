"""Folders of pictures: layouts, order, resuming, and mistakes in the settings."""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

from slots import config as settings
from slots.config import ConfigError
from slots.data import folder as folder_module
from slots.data.base import DataConfig
from slots.data.folder import FolderConfig
from slots.types import Batch

from .folders import dataset, fill, held, numbers, picture, save


def assert_same(one: Batch, other: Batch) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


class TestLayouts:
    def test_split_folders_with_masks(self, tmp_path: Path) -> None:
        fill(tmp_path / "train", 4, masks=True)
        fill(tmp_path / "validation", 3, masks=True, first=10)
        fill(tmp_path / "test", 2, first=20)
        data = dataset(tmp_path)
        assert data.splits == ("train", "val", "test")
        assert [data.size(split) for split in data.splits] == [4, 3, 2]
        assert (data.image_shape, data.max_objects) == ((8, 8, 3), 1)
        assert held(data) == [10, 11, 12]
        assert held(data, "test") == [20, 21]
        assert next(data.held_out("test", 2)).segmentation is None
        batch = next(data.train(3))
        assert batch.image is not None
        assert batch.image.dtype == np.uint8
        assert batch.segmentation is not None
        np.testing.assert_array_equal(batch.segmentation[0, 0], [1, 1, 1, 1, 0, 0, 0, 0])
        assert batch.ignore is not None
        assert not np.asarray(batch.ignore).any()

    def test_one_folder_holds_a_part_out(self, tmp_path: Path) -> None:
        data = dataset(fill(tmp_path, 20, masks=True), held_out_fraction=0.25)
        assert (data.size("train"), data.size("val")) == (15, 5)
        seen = {n for batch in itertools.islice(data.train(5), 3) for n in numbers(batch)}
        assert sorted([*seen, *held(data)]) == list(range(20))
        assert held(data) == held(dataset(tmp_path, held_out_fraction=0.25, seed=7))

    def test_bare_pictures_of_several_kinds(self, tmp_path: Path) -> None:
        for number, ending in enumerate(("png", "PNG", "bmp", "tif", "webp", "gif", "jpg")):
            save(tmp_path / f"{number}.{ending}", picture(number))
        (tmp_path / "notes.txt").write_text("no picture")
        (tmp_path / "._0.png").write_text("what another system left")
        data = dataset(tmp_path)
        assert (data.size("train"), data.size("val"), data.max_objects) == (6, 1, 0)
        batch = next(data.train(6))
        assert sorted([*numbers(batch), *held(data)]) == list(range(7))
        assert batch.segmentation is batch.visibility is batch.ignore is None

    def test_bare_pictures_in_split_folders(self, tmp_path: Path) -> None:
        save(tmp_path / "train" / "a.png", picture(1))
        save(tmp_path / "test" / "b.png", picture(2))
        data = dataset(tmp_path)
        assert data.splits == ("train", "test")
        assert numbers(next(data.train(2))) == [1, 1]

    def test_only_train_holds_a_part_out(self, tmp_path: Path) -> None:
        fill(tmp_path / "train", 10)
        assert dataset(tmp_path).size("val") == 1
        assert dataset(tmp_path, held_out_fraction=0.0).splits == ("train",)

    @pytest.mark.data
    def test_nuclei(self, shared_data: Path) -> None:
        data = dataset(shared_data / "nuclei", image_size=(128, 128), channels=1)
        assert (data.size("train"), data.size("val"), data.max_objects) == (805, 166, 9)
        batches = list(data.held_out("val", 83))
        assert [len(numbers(batch)) for batch in batches] == [83, 83]
        for batch in batches:
            objects = np.asarray(batch.num_objects)
            assert objects.min() >= 2
            assert objects.max() <= 9
        ignored = np.concatenate([np.asarray(b.ignore).any((1, 2)) for b in batches])
        assert 0.2 < ignored.mean() < 0.5
        labels = np.concatenate([np.asarray(b.segmentation) for b in batches])
        assert labels.max() <= 9
        assert 0.04 < (labels > 0).mean() < 0.15


@pytest.mark.parametrize("cache", [2**30, 0], ids=["kept", "read"])
class TestOrder:
    @pytest.fixture(autouse=True)
    def _memory(self, cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_module, "CACHE_BYTES", cache)

    def test_an_epoch_has_every_record_once(self, tmp_path: Path) -> None:
        data = dataset(fill(tmp_path, 14), held_out_fraction=0.0)
        seen = [n for batch in itertools.islice(data.train(4), 7) for n in numbers(batch)]
        first, second = seen[:14], seen[14:]
        assert sorted(first) == sorted(second) == list(range(14))
        assert first != second

    def test_resuming_goes_on_as_if_never_stopped(self, tmp_path: Path) -> None:
        fill(tmp_path, 9, masks=True)
        through = list(itertools.islice(dataset(tmp_path, flip=True).train(4), 8))
        resumed = list(itertools.islice(dataset(tmp_path, flip=True).train(4, start=3), 5))
        for one, other in zip(through[3:], resumed, strict=True):
            assert_same(one, other)

    def test_seed_decides_the_order(self, tmp_path: Path) -> None:
        fill(tmp_path, 20)
        orders = [numbers(next(dataset(tmp_path, seed=seed).train(16))) for seed in (0, 0, 1)]
        assert orders[0] == orders[1] != orders[2]

    def test_with_another_seed_the_pictures_are_shared(self, tmp_path: Path) -> None:
        data = dataset(fill(tmp_path, 20), flip=True)
        other = data.with_seed(1)
        made = dataset(tmp_path, flip=True, seed=1)
        for one, two in zip(itertools.islice(other.train(16), 3), made.train(16), strict=False):
            assert_same(one, two)
        assert numbers(next(data.train(16))) == numbers(next(dataset(tmp_path).train(16)))
        assert other._splits is data._splits

    def test_flips_picture_and_labels_together(self, tmp_path: Path) -> None:
        fill(tmp_path, 12, masks=True)
        for number in range(12):
            image = np.zeros((8, 8), np.uint8)
            image[:, :4] = 255
            save(tmp_path / "images" / f"{number:02}.png", image)
        batch = next(dataset(tmp_path, flip=True).train(64))
        light = np.asarray(batch.image)[..., 0] > 128
        np.testing.assert_array_equal(light, np.asarray(batch.segmentation) == 1)
        assert 0.2 < light[:, 0, 0].mean() < 0.8

    def test_held_out_counts(self, tmp_path: Path) -> None:
        fill(tmp_path / "val", 5)
        data = dataset(tmp_path)
        batches = list(data.held_out("val", 2, count=3))
        assert [numbers(batch) for batch in batches] == [[0, 1], [2]]
        assert [np.asarray(batch.index).tolist() for batch in batches] == [[0, 1], [2]]
        with pytest.raises(ConfigError, match="6 examples of 'val' were asked for; it has 5"):
            data.held_out("val", 2, count=6)


class TestMistakes:
    def test_path(self, tmp_path: Path) -> None:
        fill(tmp_path / "nuclei", 1)
        with pytest.raises(ConfigError, match=r"data\.path is empty"):
            FolderConfig().make()
        with pytest.raises(ConfigError, match=r"no 'nuclie'; did you mean 'nuclei'\?"):
            dataset(tmp_path / "nuclie")
        with pytest.raises(ConfigError, match=r"no 'nuclie'; did you mean 'nuclei'\?"):
            dataset(tmp_path / "nuclie" / "train")
        with pytest.raises(ConfigError, match="is a file; name the folder it is in"):
            dataset(tmp_path / "nuclei" / "images" / "00.png")

    def test_no_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "JPEGImages").mkdir()
        with pytest.raises(ConfigError, match=r"holds no pictures.*which has JPEGImages/"):
            dataset(tmp_path)

    def test_splits(self, tmp_path: Path) -> None:
        fill(tmp_path / "test", 2)
        data = dataset(tmp_path)
        with pytest.raises(ConfigError, match=r"no split 'tset'; it has test; did you mean 'test'"):
            data.held_out("tset", 1)
        with pytest.raises(ConfigError, match=r"no split 'train'; it has test\.$"):
            data.train(1)
        with pytest.raises(ConfigError, match="'train' is no held-out split"):
            data.held_out("train", 1)

    @pytest.mark.parametrize(
        "changes",
        [
            {"image_size": (0, 8)},
            {"label_size": (8, -1)},
            {"held_out_fraction": 1.0},
            {"max_objects": -1},
        ],
    )
    def test_settings(self, changes: dict[str, object]) -> None:
        with pytest.raises(ConfigError, match=next(iter(changes))):
            FolderConfig(**changes)  # type: ignore[arg-type]

    def test_settings_survive_json_and_overrides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(DataConfig.kinds, "folder", FolderConfig)
        config = settings.override(
            FolderConfig(), ["path=~/x", "image_size=[32,48]", "label_size=[9,9]", "channels=1"]
        )
        assert dataclasses.asdict(config)["image_size"] == (32, 48)
        assert settings.from_data(DataConfig, settings.to_data(config)) == config
