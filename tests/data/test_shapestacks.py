"""ShapeStacks: lists of scenarios, maps of bytes, stability, both places of maps, and mistakes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slots.config import ConfigError
from slots.data.pictures import BadFile
from slots.data.shapestacks import ShapeStacksConfig

STANDS = "env_ccs-easy-h=2-vcom=0-vpsf=0-v=10"
FALLS = "env_blocks-hard-h=3-vcom=0-vpsf=2-v=1"
LABELS = np.array([[0, 1, 2, 3], [4, 5, 6, 0], [6, 6, 0, 0], [1, 1, 1, 1]])


def rgb(folder: Path, name: str, shade: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(folder / name)


def masks(folder: Path, camera: int, labels: np.ndarray) -> None:
    """A PNG under another ending: the upper three bits of its first channel count, no more."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 4, 3), 77, np.uint8)
    pixels[..., 0] = 32 * labels + (31 if camera == 12 else 0)
    path = folder / f"iseg-w=0-f=0-l=0-c=original-cam_{camera}-mono-0.map"
    Image.fromarray(pixels).save(path, format="PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack that stands, seen by two cameras and in two lights, and one that falls."""
    recordings = tmp_path / "recordings"
    rgb(recordings / STANDS, "rgb-w=1-f=0-l=0-c=original-cam_1-mono-0.png", 10)
    rgb(recordings / STANDS, "rgb-w=2-f=4-l=1-c=unique-cam_1-mono-0.png", 20)
    rgb(recordings / STANDS, "rgb-w=2-f=4-l=1-c=unique-cam_12-mono-0.png", 30)
    rgb(recordings / FALLS, "rgb-w=0-f=0-l=0-c=original-cam_2-mono-0.png", 40)
    for other in ("depth", "vseg"):
        rgb(recordings / STANDS, f"{other}-w=0-f=0-l=0-c=original-cam_1-mono-0.png", 99)
    rgb(recordings / STANDS, "rgb-w=1-f=0-l=0-c=original-cam_1-mono-1.png", 99)
    masks(recordings / STANDS, 1, LABELS)
    masks(recordings / STANDS, 12, LABELS.T)
    masks(recordings / FALLS, 2, LABELS[::-1])
    lists = tmp_path / "splits" / "default"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(f"{FALLS}\n{STANDS}\n")
    (lists / "eval.txt").write_text(f"{STANDS}\n")
    (lists / "test.txt").write_text(f"{FALLS}\n")
    return tmp_path


def data(folder: Path, **changes: object):
    sizes = {"image_size": (4, 4), "crop": None}
    return ShapeStacksConfig(path=str(folder), **{**sizes, **changes}).make()  # type: ignore[arg-type]


class TestExamples:
    def test_are_the_pictures_of_the_lists_scenarios(self, folder):
        found = data(folder, val="default/train")
        assert [found.size(split) for split in ("train", "val", "test")] == [4, 4, 1]
        assert (found.max_objects, found.num_classes) == (6, 2)
        batch = next(found.held_out("val", 4))
        assert batch.image[:, 0, 0, 0].tolist() == [40, 10, 20, 30]
        assert batch.label.tolist() == [1, 0, 0, 0]

    def test_a_map_serves_all_pictures_of_its_camera(self, folder):
        batch = next(data(folder).held_out("val", 3))
        np.testing.assert_array_equal(batch.segmentation, [LABELS, LABELS, LABELS.T])
        assert batch.num_objects.tolist() == [6, 6, 6]

    def test_maps_in_a_tree_of_their_own(self, folder):
        for scenario in (STANDS, FALLS):
            for path in (folder / "recordings" / scenario).glob("*.map"):
                (folder / "iseg" / scenario).mkdir(parents=True, exist_ok=True)
                shutil.move(path, folder / "iseg" / scenario)
        batch = next(data(folder).held_out("test", 1))
        np.testing.assert_array_equal(batch.segmentation[0], LABELS[::-1])

    def test_no_maps_at_all(self, folder):
        for path in folder.glob("recordings/*/*.map"):
            path.unlink()
        batch = next(data(folder).held_out("test", 1))
        assert batch.segmentation is batch.num_objects is None
        assert batch.label.tolist() == [1]

    @pytest.mark.parametrize(
        ("violations", "falls"),
        [("vcom=0-vpsf=0", 0), ("vcom=1-vpsf=0", 1), ("vcom=0-vpsf=5", 1), ("vcom=0-vpsf=10", 1)],
    )
    def test_stands_without_violations(self, folder, violations, falls):
        scenario = f"env_ccs-hard-h=6-{violations}-v=3"
        (folder / "recordings" / FALLS).rename(folder / "recordings" / scenario)
        (folder / "splits" / "default" / "test.txt").write_text(scenario)
        found = data(folder, train="default/test", val="default/test")
        assert next(found.held_out("test", 1)).label.tolist() == [falls]

    def test_height_is_the_number_of_objects(self, folder):
        found = data(folder, train="default/train", scene_objects=2)
        assert found.size("train") == 3

    def test_the_middle_of_224_pixels_is_cut(self):
        top, left, height, width = ShapeStacksConfig().crop
        assert (2 * top + height, 2 * left + width) == (224, 224)


class TestMistakes:
    def test_no_such_list(self, folder):
        with pytest.raises(ConfigError, match="no list 'default/val'; did you mean 'default/eval'"):
            data(folder, val="default/val").size("val")

    def test_a_line_that_is_no_scenario(self, folder):
        (folder / "splits" / "default" / "eval.txt").write_text(f"{STANDS}\n../../etc\n")
        with pytest.raises(BadFile, match=r"eval.txt names '../../etc', which is no scenario"):
            data(folder).size("val")

    def test_a_scenario_is_gone(self, folder):
        shutil.rmtree(folder / "recordings" / STANDS)
        with pytest.raises(BadFile, match=rf"{STANDS} cannot be read \(No such file"):
            data(folder).size("val")

    def test_a_scenario_without_pictures(self, folder):
        for path in (folder / "recordings" / STANDS).glob("rgb-*mono-0.png"):
            path.unlink()
        with pytest.raises(BadFile, match=rf"{STANDS} holds no pictures"):
            data(folder).size("val")

    def test_a_map_is_gone(self, folder):
        (folder / "recordings" / STANDS / "iseg-w=0-f=0-l=0-c=original-cam_12-mono-0.map").unlink()
        with pytest.raises(BadFile, match=r"cam_12-mono-0.map does not exist"):
            list(data(folder).held_out("val", 3))

    def test_a_label_too_many(self, folder):
        masks(folder / "recordings" / FALLS, 2, np.full((4, 4), 7))
        with pytest.raises(BadFile, match=r"example 0 has label 7, data.max_objects=6"):
            list(data(folder).held_out("test", 1))
