"""Pictures and masks as arrays of one size, and files that are bad."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slots.config import ConfigError
from slots.data import FolderConfig
from slots.data import folder as folder_module
from slots.data.pictures import by_size
from slots.types import Batch

from .folders import dataset, fill, picture, save


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

    def test_small_objects_become_background(self) -> None:
        """The rest are numbered by size, and the largest stay (Waymo in Biza et al. 2023)."""
        mask = np.zeros((128, 192), np.uint8)
        mask[0, :] = 7  # 192 pixels and 52 more: 244
        mask[1, :52] = 7
        mask[2:4, :122] = 4  # 244 and one more: 245
        mask[4, 0] = 4
        mask[10:40, :] = 9
        mask[50:53, :] = 2
        labels = by_size(np.int32(mask), 245)
        assert np.array_equal(np.unique(labels), [0, 1, 2, 3])
        assert (labels[10:40] == 1).all()
        assert (labels[50:53] == 2).all()
        assert (labels[2:4, :122] == 3).all()
        assert (labels[0] == 0).all()
        assert np.array_equal(np.unique(by_size(np.int32(mask), 245, 2)), [0, 1, 2])
        kept = by_size(np.int32(mask), 245, ignore_value=9)
        assert (kept[10:40] == 9).all()
        assert kept[50, 0] == 1

    def test_small_objects_of_a_folder(self, tmp_path: Path) -> None:
        mask = np.zeros((8, 8), np.uint8)
        mask[0, :3], mask[4:, :] = 5, 6
        batch = self.one(tmp_path, Image.fromarray(mask), min_object_pixels=4, max_objects=2)
        assert np.array_equal(np.unique(batch.segmentation), [0, 1])
        assert batch.num_objects[0] == 1
        with pytest.raises(ConfigError, match="min_object_pixels=0"):
            FolderConfig(path="x", min_object_pixels=0)

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
