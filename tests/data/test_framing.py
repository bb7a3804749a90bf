"""Cutting and scaling: conventions at the pixel, one window for pictures, labels and boxes."""

import numpy as np
import pytest
from PIL import Image

from slots.data.framing import Framing


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def ramp(height: int, width: int) -> np.ndarray:
    """A map whose labels say where they are."""
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


class TestImage:
    def test_crop_alone_copies_pixels(self, picture):
        framed = Framing(crop=(2, 5, 6, 8)).image(picture, (6, 8))
        np.testing.assert_array_equal(framed, picture[2:8, 5:13])

    def test_antialiased_is_pillow(self, picture):
        framed = Framing().image(picture, (5, 7))
        wanted = Image.fromarray(picture).resize((7, 5), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(framed, np.asarray(wanted))

    def test_without_antialiasing_two_pixels_are_mixed(self):
        row = np.array([[0, 100, 0, 0, 0, 0, 0, 200, 0]], np.uint8)[..., None]
        # A third of the width: the new centres fall on the old pixels 1, 4 and 7 alone.
        np.testing.assert_array_equal(
            Framing(antialias=False).image(row, (1, 3))[0, :, 0], [100, 0, 200]
        )
        # Half the width of eight: between the pixels 2i and 2i + 1.
        np.testing.assert_array_equal(
            Framing(antialias=False).image(row[:, :8], (1, 4))[0, :, 0], [50, 0, 0, 100]
        )
        assert Framing().image(row, (1, 3))[0, 0, 0] < 100  # the wider filter

    @pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest"])
    @pytest.mark.parametrize("antialias", [True, False])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_flat_picture_stays_flat(self, resample, antialias, channels):
        flat = np.full((9, 14, channels), 77, np.uint8)
        framing = Framing(resample=resample, antialias=antialias)
        for size in ((4, 5), (20, 31)):
            assert framing.image(flat, size).shape == (*size, channels)
            np.testing.assert_array_equal(framing.image(flat, size), 77)

    def test_too_small_for_the_crop(self, picture):
        with pytest.raises(ValueError, match=r"is 20x12 pixels, too small for data.crop"):
            Framing(crop=(0, 0, 12, 21)).image(picture, (4, 4))


class TestWindows:
    def test_center_scales_the_shorter_side(self, picture):
        framed = Framing(fit="center").image(picture, (6, 6))
        whole = Image.fromarray(picture).resize((10, 6), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(framed, np.asarray(whole)[:, 2:8])

    def test_longer_side_is_truncated(self):
        # 480×640 to a shorter side of 224 is 298.67 long; torchvision takes 298 and cuts from 37.
        labels = ramp(480, 640)
        framed = Framing(fit="center").labels(labels, (224, 224))
        columns = np.floor((np.arange(298) + 0.5) * 640 / 298).astype(int)[37 : 37 + 224]
        np.testing.assert_array_equal(framed[0] % 640, columns)

    @pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
    def test_random_windows_reach_both_ends(self, shape):
        framing = Framing(fit="random")
        first = framing.labels(ramp(*shape), (12, 12), 0.0)
        last = framing.labels(ramp(*shape), (12, 12), 0.999)
        assert (first[0, 0], last[-1, -1]) == (0, 239)
        middle = framing.labels(ramp(*shape), (12, 12))
        np.testing.assert_array_equal(middle, Framing(fit="center").labels(ramp(*shape), (12, 12)))

    def test_pictures_labels_and_boxes_show_the_same(self):
        picture = np.zeros((40, 60, 1), np.uint8)
        picture[8:24, 30:50] = 255
        labels = (picture[..., 0] > 0).astype(np.int32)
        box = np.array([[8.0, 30.0, 24.0, 50.0]])
        for fit in ("stretch", "center", "random"):
            framing = Framing(crop=(4, 10, 32, 48), fit=fit, resample="nearest")
            image = framing.image(picture, (64, 64), 0.7)[..., 0] > 0
            np.testing.assert_array_equal(image, framing.labels(labels, (64, 64), 0.7) > 0)
            rows, columns = np.nonzero(image)
            found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) / 64
            boxes = framing.boxes(box, (40, 60), (64, 64), 0.7)
            np.testing.assert_allclose(boxes[0], found, atol=1 / 64)


class TestLabels:
    def test_nearest_takes_the_pixel_under_the_centre(self):
        # Thirds of five: centres at 0.83, 2.5 and 4.17; the other convention, floor(i * 5 / 3),
        # would take 0, 1 and 3.
        labels = np.arange(5, dtype=np.int32)[None]
        np.testing.assert_array_equal(Framing().labels(labels, (1, 3)), [[0, 2, 4]])

    def test_no_label_is_mixed(self):
        labels = np.random.default_rng(1).choice(np.array([0, 3, 9]), (31, 17)).astype(np.int32)
        assert set(np.unique(Framing().labels(labels, (50, 11)))) <= {0, 3, 9}

    def test_boxes_outside_are_empty(self):
        framing = Framing(crop=(0, 0, 10, 10))
        boxes = framing.boxes(np.array([[2.0, 12.0, 4.0, 18.0]]), (10, 20), (10, 10))
        assert boxes[0, 1] == boxes[0, 3] == 1
