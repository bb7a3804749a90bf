"""Figures: cells, titles and colours for any channels and number of slots; nothing is drawn wrong.

What they look like was judged by eye; here is what must not change unnoticed.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pytest

from slots import visualize

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def arrays(slots: int, channels: int = 3, scenes: int = 2, size: int = 12) -> dict[str, np.ndarray]:
    """Scenes whose slot k owns the k-th band of rows."""
    draw = np.random.default_rng(0)
    images = draw.random((scenes, size, size, channels)).astype(np.float32)
    rows = np.arange(size) * slots // size
    masks = (rows[None] == np.arange(slots)[:, None]).astype(np.float32)
    masks = np.broadcast_to(masks[None, :, :, None], (scenes, slots, size, size))
    parts = np.broadcast_to(images[:, None], (scenes, slots, size, size, channels))
    return {"images": images, "masks": masks, "parts": parts}


def texts(figure: "Figure") -> list[str]:
    return [text.get_text() for text in figure.texts]


def cells(figure: "Figure") -> list[np.ndarray]:
    """The picture in every cell, row by row."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def render(figure: "Figure") -> None:
    """Draws the figure, and checks that no two titles overlap or leave it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [box.get_window_extent(renderer) for box in figure.legends]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def grid(data: dict[str, np.ndarray], **changes: Any) -> "Figure":
    return visualize.reconstruction_grid(data["images"], data["images"], data["masks"], **changes)


class TestScenes:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("slots", [1, 4, 7, 12])
    def test_reconstruction_grid(self, channels: int, slots: int) -> None:
        data = arrays(slots, channels)
        figure = grid(data)
        assert len(figure.axes) == 2 * 4
        assert texts(figure)[:3] == ["input", "reconstruction", "predicted masks"]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["slot", *map(str, range(slots))]
        np.testing.assert_allclose(
            cells(figure)[0], np.broadcast_to(data["images"][0], (12, 12, 3))
        )
        assert not cells(figure)[3].any()
        render(figure)

    def test_truth_takes_the_colours_of_the_slots_that_cover_it(self) -> None:
        data = arrays(3)
        truth = np.zeros((2, 24, 24), np.int32)
        truth[:, 16:, :12] = 1  # in the band of slot 2
        truth[:, :8] = 2  # in the band of slot 0
        figure = grid(data, segmentation=jnp.asarray(truth))
        assert "true objects" in texts(figure)
        _, true, _, predicted, _ = cells(figure)[:5]
        # Deep inside both objects the drawings are the same.
        height, width = true.shape[:2]
        for row, column in ((height // 8, width // 2), (7 * height // 8, width // 8)):
            np.testing.assert_allclose(true[row, column], predicted[row, column])
        render(figure)

    def test_background_stays_grey(self) -> None:
        data = arrays(3)
        figure = grid(data, background=-1)
        last = cells(figure)[2][-1]
        np.testing.assert_allclose(last, last[:, :1] * np.ones(3), rtol=1e-6)
        assert figure.legends[0].get_texts()[-1].get_text() == "background"

    def test_masks_may_be_coarse_and_slots_many(self) -> None:
        data = arrays(20)
        figure = grid({**data, "masks": data["masks"][:, :, ::3, ::3]})
        assert not figure.legends
        render(figure)

    @pytest.mark.parametrize(("channels", "slots"), [(1, 1), (3, 4), (3, 12)])
    def test_slot_parts(self, channels: int, slots: int) -> None:
        data = arrays(slots, channels)
        figure = visualize.slot_parts(**data, background=-1)
        assert len(figure.axes) == 2 * (slots + 2)
        names = [*(f"slot {k}" for k in range(slots - 1)), "background"]
        assert texts(figure) == ["input", "reconstruction", *names]
        np.testing.assert_allclose(cells(figure)[1], cells(figure)[0], rtol=1e-6)
        assert figure.axes[2].texts[0].get_text() == f"{100 / slots:.1f} %"
        render(figure)

    def test_scenes_drawn_from_nothing(self) -> None:
        data = {**arrays(3), "images": None}
        figure = visualize.slot_parts(**data)
        assert len(figure.axes) == 2 * (3 + 1)
        assert texts(figure) == ["scene", "slot 0", "slot 1", "slot 2"]
        mixed = (data["parts"] * data["masks"][..., None]).sum(axis=1)
        np.testing.assert_allclose(cells(figure)[0], mixed[0], rtol=1e-5)
        render(figure)

    def test_segmentation_overlay(self) -> None:
        images = (255 * arrays(1, scenes=4)["images"]).astype(np.uint8)
        labels = np.zeros((4, 12, 12), np.int32)
        labels[:, 4:8, 4:8] = 3
        figure = visualize.segmentation_overlay(images, labels, columns=3)
        assert len(figure.axes) == 4
        picture = cells(figure)[0]
        edge = picture[picture.shape[0] // 3, picture.shape[1] // 2]
        np.testing.assert_allclose(edge, visualize.slot_colors(3)[2], atol=1e-6)
        np.testing.assert_allclose(picture[0, 0], np.full(3, picture[0, 0, 0]), rtol=1e-6)
        both = visualize.segmentation_overlay(images, labels, columns=3, pictures=True)
        assert len(both.axes) == 2 * 4
        np.testing.assert_allclose(cells(both)[0], images[0] / 255, atol=1e-6)
        np.testing.assert_array_equal(cells(both)[3], picture)
        ignore = np.zeros((4, 12, 12), bool)
        ignore[0, :2] = True
        striped = cells(visualize.segmentation_overlay(images, labels, ignore=ignore))
        assert (striped[0] != picture).any()
        np.testing.assert_array_equal(striped[1], cells(figure)[1])

    def test_what_is_not_finite_is_said(self) -> None:
        data = {name: np.full_like(array, np.nan) for name, array in arrays(3).items()}
        figure = grid(data)
        assert [text.get_text() for text in figure.axes[0].texts] == ["not finite"]
        render(figure)
        render(visualize.slot_parts(**data))
        figure = visualize.attention_iterations(data["images"][0], data["masks"])
        assert "not all finite" in texts(figure)[-1]
        render(figure)


class TestAttention:
    @pytest.mark.parametrize("slots", [1, 4, 12])
    def test_cells(self, slots: int) -> None:
        data = arrays(slots, scenes=3)
        image, attention = data["images"][0], data["masks"]
        figure = visualize.attention_iterations(image, attention)
        assert len(figure.axes) == 3 * (slots + 1)
        assert {"iteration 3", "strongest slot", f"slot {slots - 1}"} <= set(texts(figure))
        np.testing.assert_array_equal(cells(figure)[-1], attention[2, -1])
        render(figure)
        flat = visualize.attention_iterations(image, attention.reshape(3, slots, 144))
        np.testing.assert_array_equal(cells(flat)[-1], attention[2, -1])
        wide = attention.reshape(3, slots, 144)
        assert cells(visualize.attention_iterations(image, wide, grid=(9, 16)))[1].shape == (9, 16)


IMAGES, MASKS = np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 4, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: visualize.reconstruction_grid(IMAGES[0], IMAGES, MASKS),
            r"`images` has shape \(8, 8, 3\), expected \[scenes, H, W, C\]",
        ),
        (
            lambda: visualize.reconstruction_grid(IMAGES[..., :2], IMAGES, MASKS),
            r"`images` has 2 channels, expected 1 \(grey\) or 3 \(RGB\)",
        ),
        (
            lambda: visualize.reconstruction_grid(IMAGES, IMAGES[:, :4], MASKS),
            r"`reconstructions` has shape \(2, 4, 8, 3\), expected \[2, 8, 8, C\]",
        ),
        (
            lambda: visualize.reconstruction_grid(IMAGES, IMAGES, MASKS[:1]),
            r"`masks` has shape \(1, 4, 8, 8\), expected \[2, M, h, w\]",
        ),
        (
            lambda: visualize.reconstruction_grid(IMAGES, IMAGES, MASKS, background=4),
            "`background`=4 is none of the 4 components",
        ),
        (
            lambda: visualize.slot_parts(IMAGES, IMAGES[:, None], MASKS),
            r"`masks` has shape \(2, 4, 8, 8\), expected \[2, 1, 8, 8\]",
        ),
        (
            lambda: visualize.segmentation_overlay(IMAGES, MASKS[:, 0]),
            "`labels` should hold integers from 0 up, got float32",
        ),
        (
            lambda: visualize.segmentation_overlay(IMAGES[:0], MASKS[:0, 0]),
            "`images` has shape .*; there is nothing to draw",
        ),
        (
            lambda: visualize.attention_iterations(IMAGES[0], np.zeros((3, 4, 15)), grid=(4, 4)),
            r"`grid`=\(4, 4\) does not hold the 15 tokens of `attention`",
        ),
        (
            lambda: visualize.attention_iterations(IMAGES[0], np.zeros((3, 4, 15))),
            r"`grid`=None \(square\) does not hold the 15 tokens",
        ),
    ],
)
def test_mistakes(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_colors_are_distinct_and_stable() -> None:
    colors = visualize.slot_colors(24)
    np.testing.assert_array_equal(visualize.slot_colors(5), colors[:5])
    distance = np.abs(colors[:, None] - colors).sum(-1) + 9 * np.eye(24)
    assert distance.min() > 0.2
    assert distance[:12, :12].min() > 0.3
    assert visualize.slot_colors(30).shape == (30, 3)


def test_importing_loads_no_matplotlib() -> None:
    code = "import sys, slots.visualize; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def frames(slots: int, scenes: int = 2) -> dict[str, np.ndarray]:
    position = np.linspace(-0.5, 0.5, scenes * slots * 2).reshape(scenes, slots, 2)
    angle = np.full((scenes, slots), 0.3)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    return {"position": position, "scale": np.full_like(position, 0.25), "rotation": rotation}


class TestFrames:
    def arrows(self, figure: "Figure") -> list[Any]:
        return [text for axes in figure.axes for text in axes.texts]

    @pytest.mark.parametrize("slots", [1, 3, 20])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_two_arrows_for_each_slot(self, slots: int, channels: int) -> None:
        data = arrays(slots, channels, size=20)
        figure = visualize.frame_overlay(data["images"], data["masks"], **frames(slots))
        render(figure)
        assert len(self.arrows(figure)) == 2 * 2 * slots

    def test_arrows_point_along_the_axes_from_the_position(self) -> None:
        data, pose = arrays(2, scenes=1, size=20), frames(2, scenes=1)
        figure = visualize.frame_overlay(data["images"], data["masks"], **pose)
        pixels = cells(figure)[0].shape[0]
        along, across, *_ = self.arrows(figure)

        def place(point: np.ndarray) -> np.ndarray:
            """(x, y) in pixels of a place (y, x) in [-1, 1]."""
            return (np.asarray(point)[::-1] + 1) / 2 * (pixels - 1)

        start = place(pose["position"][0, 0])
        length, cos, sin = (pixels - 1) / 2 * 0.25, np.cos(0.3), np.sin(0.3)
        np.testing.assert_allclose(along.xy, start + length * np.array([cos, sin]))
        np.testing.assert_allclose(across.xy, start + length * np.array([-sin, cos]))
        np.testing.assert_allclose(along.get_position(), start)

    def test_positions_alone_are_dots(self) -> None:
        data = arrays(3)
        figure = visualize.frame_overlay(data["images"], data["masks"], frames(3)["position"])
        render(figure)
        assert not self.arrows(figure)
        assert all(len(axes.lines) == 3 for axes in figure.axes)

    def test_slots_without_pixels_and_the_background_have_no_frame(self) -> None:
        data = arrays(3)
        masks = data["masks"].copy()
        masks[:, 0] = 0  # its rows fall to nobody's larger mask: the first of equals
        masks[:, 1] += 0.5
        pose = frames(2)
        figure = visualize.frame_overlay(data["images"], masks, **pose, background=-1)
        assert len(self.arrows(figure)) == 2 * 2  # slot 1 in both scenes

    def test_wrong_arguments(self) -> None:
        data, pose = arrays(3), frames(3)
        with pytest.raises(ValueError, match=r"`position` has shape \(2, 2, 2\)"):
            visualize.frame_overlay(data["images"], data["masks"], pose["position"][:, :2])
        with pytest.raises(ValueError, match=r"`background`=0"):
            visualize.frame_overlay(data["images"], data["masks"], **pose, background=0)
