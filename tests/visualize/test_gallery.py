"""What a gallery packs; what is made of it is tested in a browser (tests/test_report.py)."""

import base64
import gzip
import re
from typing import Any

import numpy as np
import pytest

from slots import visualize
from slots.visualize import Gallery


def arrays(channels: int = 3) -> dict[str, np.ndarray]:
    """Two scenes of three components on 4 × 6 pixels, drawn from 2 × 3 tokens in two rounds."""
    draw = np.random.default_rng(0)
    alphas = draw.normal(size=(2, 3, 4, 6)).astype(np.float32) * 20
    weights = np.exp(alphas - alphas.max(1, keepdims=True))
    attention = draw.random((2, 2, 3, 6)).astype(np.float32)
    return {
        "images": draw.random((2, 4, 6, channels)).astype(np.float32),
        "masks": weights / weights.sum(1, keepdims=True),
        "parts": draw.uniform(-0.5, 1.5, (2, 3, 4, 6, channels)).astype(np.float32),
        "alphas": alphas,
        "attention": attention / attention.sum(2, keepdims=True),
    }


def unpacked(gallery: Gallery) -> dict[str, np.ndarray]:
    data = gzip.decompress(base64.b64decode(gallery.packed["blob"]))
    found = {}
    for name, told in gallery.packed["arrays"].items():
        kind = np.dtype("<" + told["kind"])
        flat = np.frombuffer(data, kind, np.prod(told["shape"]), told["offset"])
        assert told["offset"] % kind.itemsize == 0  # browsers want that
        found[name] = flat.reshape(told["shape"])
    return found


class TestPacked:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_numbers_come_back_up_to_rounding(self, channels: int) -> None:
        given = arrays(channels)
        gallery = visualize.slot_gallery(**given, grid=(2, 3), background=-1)
        found, packed = unpacked(gallery), gallery.packed
        assert packed["composable"]
        assert packed["names"] == ["slot 0", "slot 1", "background"]
        assert packed["background"] == 2
        half = 0.500001
        apart = np.abs(found["alphas"] * packed["alphaStep"] - given["alphas"])
        assert apart.max() <= half * packed["alphaStep"]
        assert packed["alphaStep"] < 0.003
        drawn = np.broadcast_to(given["parts"], (2, 3, 4, 6, 3))
        assert (
            np.abs(found["parts"] * packed["partStep"] - drawn).max() <= half * packed["partStep"]
        )
        pictures = np.broadcast_to(given["images"], (2, 4, 6, 3))
        assert np.abs(found["images"] / 255 - pictures).max() <= half / 255
        assert found["attention"].shape == (2, 2, 3, 2, 3)
        settled = given["attention"].reshape(2, 2, 3, 2, 3)
        assert np.abs(found["attention"] / 255 - settled).max() <= half / 255

    def test_an_inactive_slot_is_marked_and_does_not_coarsen_the_others(self) -> None:
        given = arrays()
        before = visualize.slot_gallery(**given, grid=(2, 3)).packed["alphaStep"]
        given["alphas"][0, 1] = -1e9
        gallery = visualize.slot_gallery(**given, grid=(2, 3))
        levels = unpacked(gallery)["alphas"]
        assert (levels[0, 1] == -32768).all()
        assert (levels == -32768).sum() == 24
        assert gallery.packed["alphaStep"] <= before

    def test_without_alphas_masks_are_shown_and_nothing_is_mixed(self) -> None:
        given = arrays()
        del given["alphas"], given["parts"], given["attention"]
        gallery = visualize.slot_gallery(**given)
        found = unpacked(gallery)
        assert not gallery.packed["composable"]
        assert set(found) == {"alphas", "images"}
        masks = np.exp(found["alphas"] * gallery.packed["alphaStep"])
        np.testing.assert_allclose(masks, np.maximum(given["masks"], 1e-6), rtol=1e-3)

    def test_true_objects_take_the_labels_of_their_slots(self) -> None:
        given = arrays()
        owners = given["masks"].argmax(1)
        truth = np.where(owners == 2, 0, 2 - owners)  # slots 0 and 1 in the other order
        gallery = visualize.slot_gallery(**given, grid=(2, 3), segmentation=truth, background=2)
        found = unpacked(gallery)["truth"]
        np.testing.assert_array_equal(found, np.where(owners == 2, 0, owners + 1))
        assert len(gallery.packed["palette"]) == found.max()

    def test_the_same_scenes_make_the_same_page(self) -> None:
        pages = {visualize.slot_gallery(**arrays(), grid=(2, 3)).html() for _ in range(2)}
        assert len(pages) == 1

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"masks": np.zeros((3, 3, 4, 6))}, "`masks` has shape (3, 3, 4, 6), expected [2, M"),
            ({"parts": np.zeros((2, 3, 4, 5, 3))}, "`parts` has shape"),
            ({"alphas": np.zeros((2, 2, 4, 6))}, "`alphas` has shape"),
            ({"grid": (2, 2)}, "`grid`=(2, 2) does not hold the 6 tokens"),
            ({"background": 3}, "`background`=3 is none of the 3 components"),
            ({"segmentation": np.full((2, 4, 6), -1)}, "integers from 0 up"),
        ],
        ids=lambda x: "".join(x) if isinstance(x, dict) else "",
    )
    def test_mistakes(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            visualize.slot_gallery(**{**arrays(), "grid": (2, 3), **changes})
