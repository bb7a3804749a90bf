"""Folders of pictures: layouts, labels, order, resuming, and files that are bad."""

import dataclasses
import itertools
import logging
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from slots import config as settings
from slots.config import ConfigError
from slots.data import folder as folder_module
from slots.data.base import DataConfig
from slots.data.folder import FolderConfig
from slots.types import Batch


def picture(number: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A flat grey picture whose brightness says which one it is."""
    return np.full((*size, 3), 5 * number, np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def fill(where: Path, count: int, *, masks: bool = False, first: int = 0) -> Path:
    """Pictures `where/images/NN.png`, with masks whose label 1 is the left half if asked for."""
    mask = np.repeat(np.array([[1] * 4 + [0] * 4], np.uint8), 8, axis=0)
    for number in range(first, first + count):
        save(where / "images" / f"{number:02}.png", picture(number))
        if masks:
            save(where / "masks" / f"{number:02}.png", mask)
    return where


def dataset(path: Path, **changes: object) -> folder_module.FolderDataset:
    values = {"path": str(path), "image_size": (8, 8), **changes}
    return FolderConfig(**values).make()  # type: ignore[arg-type]


def numbers(batch: Batch) -> list[int]:
    assert batch.image is not None
    return (np.asarray(batch.image)[:, 0, 0, 0] // 5).tolist()


def held(data: folder_module.FolderDataset, split: str = "val") -> list[int]:
    return [n for batch in data.held_out(split, 3) for n in numbers(batch)]


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


class TestLabels:
    def one(self, tmp_path: Path, mask: Image.Image, **changes: object) -> Batch:
        save(tmp_path / "test" / "images" / "a.png", picture(1, (mask.height, mask.width)))
        (tmp_path / "test" / "masks").mkdir()
        mask.save(tmp_path / "test" / "masks" / "a.png")
        changes = {"image_size": (mask.height, mask.width), **changes}
        return next(dataset(tmp_path, **changes).held_out("test", 1))

    def test_palette_indices_and_ignore(self, tmp_path: Path) -> None:
        mask = Image.fromarray(np.array([[0, 3], [255, 1]], np.uint8), mode=None).convert("L")
        mask.putpalette([value for i in range(256) for value in (i * 7 % 256, 9, 9)])
        assert mask.mode == "P"
        batch = self.one(tmp_path, mask)
        np.testing.assert_array_equal(batch.segmentation, [[[0, 3], [0, 1]]])
        np.testing.assert_array_equal(batch.ignore, [[[False, False], [True, False]]])
        np.testing.assert_array_equal(batch.visibility, [[True, False, True]])
        np.testing.assert_array_equal(batch.num_objects, [2])

    def test_16_bits_without_ignore(self, tmp_path: Path) -> None:
        mask = Image.fromarray(np.array([[0, 300], [255, 1]], np.uint16))
        batch = self.one(tmp_path, mask, ignore_value=None)
        np.testing.assert_array_equal(batch.segmentation, [[[0, 300], [255, 1]]])
        assert batch.ignore is None
        assert batch.visibility is not None
        assert batch.visibility.shape == (1, 300)

    def test_labels_keep_a_size_of_their_own(self, tmp_path: Path) -> None:
        labels = np.arange(36, dtype=np.uint8).reshape(6, 6)
        batch = self.one(tmp_path, Image.fromarray(labels), image_size=(4, 4), label_size=(3, 2))
        assert batch.image is not None
        assert batch.image.shape == (1, 4, 4, 3)
        # Centres of 3 rows fall on 1, 3, 5 (exact halves round up), of 2 columns on 1 and 4.
        np.testing.assert_array_equal(batch.segmentation, labels[[1, 3, 5]][:, [1, 4]][None])

    def test_center_square_cuts_both_alike(self, tmp_path: Path) -> None:
        labels = np.tile(np.arange(8, dtype=np.uint8), (4, 1))
        batch = self.one(tmp_path, Image.fromarray(labels), image_size=(4, 4), crop="center_square")
        np.testing.assert_array_equal(batch.segmentation, np.tile([2, 3, 4, 5], (1, 4, 1)))

    def test_max_objects(self, tmp_path: Path) -> None:
        mask = Image.fromarray(np.array([[0, 3]], np.uint8))
        batch = self.one(tmp_path, mask, max_objects=5)
        np.testing.assert_array_equal(batch.visibility, [[False, False, True, False, False]])
        with pytest.raises(ConfigError, match=r"a\.png has label 3, .*max_objects=2"):
            next(dataset(tmp_path, max_objects=2).held_out("test", 1))

    def test_masks_of_ignored_pixels_only_are_pointed_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.one(tmp_path, Image.fromarray(np.array([[0, 255]], np.uint8)))
        assert "ignore_value=null" in caplog.text


class TestPixels:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_mode_gives_the_same_white(
        self, tmp_path: Path, mode: str, channels: int
    ) -> None:
        white = Image.new("L", (8, 8), 255)
        if mode == "I;16":
            image = Image.fromarray(np.full((8, 8), 65535, np.uint16))
        else:
            image = white.convert(mode)
        image.save(tmp_path / "a.tif")
        batch = next(dataset(tmp_path, channels=channels).train(1))
        np.testing.assert_array_equal(batch.image, np.full((1, 8, 8, channels), 255, np.uint8))

    def test_shrinking_is_antialiased(self, tmp_path: Path) -> None:
        stripes = np.tile(np.array([0, 255], np.uint8), (32, 16))
        save(tmp_path / "a.png", stripes)
        image = np.asarray(next(dataset(tmp_path, channels=1).train(1)).image)[0, :, 2:-2]
        assert np.abs(image.astype(int) - 128).max() <= 2

    def test_pictures_stand_upright(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its left side
        pixels = np.zeros((16, 8, 3), np.uint8)
        pixels[:8] = 255
        stored = tmp_path / "test" / "images"
        stored.mkdir(parents=True)
        Image.fromarray(np.rot90(pixels)).save(stored / "a.jpg", exif=exif, quality=95)
        save(tmp_path / "test" / "masks" / "a.png", (pixels[..., 0] > 0).astype(np.uint8))
        batch = next(dataset(tmp_path, image_size=(16, 8)).held_out("test", 1))
        light = np.asarray(batch.image)[0, :, :, 0] > 128
        np.testing.assert_array_equal(light, np.asarray(batch.segmentation)[0] == 1)

    def test_big_jpeg_equals_its_full_decoding(self, tmp_path: Path) -> None:
        ramp = np.linspace(0, 255, 256)
        smooth = np.stack([ramp[:, None] + 0 * ramp, ramp + 0 * ramp[:, None]], 2).mean(2)
        save(tmp_path / "a.jpg", smooth.astype(np.uint8))
        expected = np.asarray(Image.open(tmp_path / "a.jpg").resize((8, 8), 2)).astype(int)
        image = np.asarray(next(dataset(tmp_path, channels=1).train(1)).image)[0, :, :, 0]
        assert np.abs(image - expected).max() <= 3


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


def damage(path: Path) -> None:
    """Keeps the header and some of the pixels."""
    path.write_bytes(path.read_bytes()[:50])


class TestBadFiles:
    @pytest.fixture
    def good(self, tmp_path: Path) -> Path:
        noise = np.random.default_rng(0)
        fill(tmp_path / "train", 4, masks=True)
        fill(tmp_path / "val", 2, masks=True)
        for number in range(4):
            pixels = noise.integers(0, 255, (8, 8, 3), np.uint8)
            save(tmp_path / "train" / "images" / f"{number:02}.png", pixels)
        return tmp_path

    def break_one(self, root: Path, how: str) -> str:
        """Breaks record 1 of the training split; returns what the error should say."""
        image, mask = (root / "train" / kind / "01.png" for kind in ("images", "masks"))
        if how == "empty":
            image.write_bytes(b"")
            return r"images/01\.png is empty"
        if how == "text":
            image.write_text("not a picture")
            return r"images/01\.png is not a picture Pillow can read"
        if how == "truncated":
            damage(image)
            return r"images/01\.png cannot be decoded \(.*truncated"
        if how == "truncated mask":
            damage(mask)
            return r"masks/01\.png cannot be decoded"
        if how == "size":
            save(mask, np.zeros((8, 9), np.uint8))
            return r"images/01\.png has another size than its mask \(is 8x8, its mask 9x8\)"
        if how == "no mask":
            mask.unlink()
            return r"images/01\.png has no mask"
        if how == "colour mask":
            save(mask, picture(1))
            return r"masks/01\.png is no index picture \(its pixels are RGB\)"
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(mask.with_suffix(".jpg"))
        mask.unlink()
        return r"masks/01\.jpg is a JPEG"

    HOWS = (
        "empty",
        "text",
        "truncated",
        "truncated mask",
        "size",
        "no mask",
        "colour mask",
        "jpeg mask",
    )

    @pytest.mark.parametrize("how", HOWS)
    def test_refused(self, good: Path, how: str) -> None:
        expected = self.break_one(good, how)
        with pytest.raises(ConfigError, match=expected + ".*data.bad_files=skip") as caught:
            # Damage in one split shows before another is used.
            next(dataset(good).held_out("val", 1))
        assert str(caught.value).count("\n") == 0

    @pytest.mark.parametrize("how", HOWS)
    @pytest.mark.parametrize("cache", [2**30, 0], ids=["kept", "read"])
    def test_skipped(
        self,
        good: Path,
        how: str,
        cache: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(folder_module, "CACHE_BYTES", cache)
        self.break_one(good, how)
        with caplog.at_level(logging.WARNING, "slots"):
            data = dataset(good, bad_files="skip")
            assert (data.size("train"), data.size("val")) == (3, 2)
            assert sorted(np.asarray(next(data.train(3)).index).tolist()) == [0, 1, 2]
        assert [r.getMessage()[:27] for r in caplog.records] == [
            "skipped 1 of 6 pictures: " + good.as_posix()[:2]
        ]
        assert "01." in caplog.text

    def test_several_are_counted(self, good: Path) -> None:
        for number in range(3):
            (good / "train" / "images" / f"{number:02}.png").write_bytes(b"")
        with pytest.raises(ConfigError, match=r"00\.png is empty, and 2 more are bad; repair"):
            dataset(good)

    def test_nothing_left(self, good: Path) -> None:
        for file in (good / "train" / "images").iterdir():
            file.write_bytes(b"")
        with pytest.raises(ConfigError, match="no usable picture in 'train'"):
            dataset(good, bad_files="skip").size("train")

    def test_a_file_that_vanishes_is_named(
        self, good: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_module, "CACHE_BYTES", 0)
        batches = dataset(good).train(4)
        next(batches)
        (good / "train" / "images" / "02.png").unlink()
        with pytest.raises(ConfigError, match=r"^\S*02\.png does not exist \(any more\)\.$"):
            list(itertools.islice(batches, 40))


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
