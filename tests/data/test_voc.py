"""Pascal VOC: palette indices, the void rim, classes of instances, boxes, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slots.config import ConfigError
from slots.data.pictures import BadFile
from slots.data.voc import VocConfig

OBJECT = np.array([[0, 255, 2, 2], [0, 255, 2, 2], [1, 1, 255, 0], [1, 1, 0, 0]], np.uint8)
CLASS = np.where(OBJECT == 1, 15, np.where(OBJECT == 2, 3, OBJECT)).astype(np.uint8)


def palette(path: Path, indices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labelled pictures in `val`; `trainaug` has one without instances besides."""
    for name in ("a", "b", "c"):
        picture = tmp_path / "JPEGImages" / f"{name}.jpg"
        picture.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(picture)
        palette(tmp_path / "SegmentationClass" / f"{name}.png", CLASS)
    for name in ("a", "b"):
        palette(tmp_path / "SegmentationObject" / f"{name}.png", OBJECT)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\na\n")
    (lists / "trainaug.txt").write_text("a\nc\n\n")
    return tmp_path


def data(folder: Path, **changes: object):
    sizes = {"image_size": (4, 4), "label_size": (4, 4), **changes}
    return VocConfig(path=str(folder), **sizes).make()  # type: ignore[arg-type]


class TestMasks:
    def test_indices_not_colours(self, folder):
        batch = next(data(folder).held_out("val", 2))
        np.testing.assert_array_equal(batch.segmentation[0], np.where(OBJECT == 255, 0, OBJECT))
        np.testing.assert_array_equal(batch.semantic[0], np.where(CLASS == 255, 0, CLASS))
        np.testing.assert_array_equal(batch.ignore[0], OBJECT == 255)
        np.testing.assert_array_equal(batch.properties["category"], [[15, 3], [15, 3]])
        assert batch.num_objects.tolist() == [2, 2]

    def test_void_as_background_leaves_nothing_to_ignore(self, folder):
        batch = next(data(folder, void="background").held_out("val", 2))
        np.testing.assert_array_equal(batch.segmentation[0], np.where(OBJECT == 255, 0, OBJECT))
        assert not np.asarray(batch.ignore).any()

    def test_a_list_without_all_instances_has_no_masks(self, folder):
        found = data(folder)
        assert (found.size("train"), found.max_objects, found.semantic_classes) == (2, 2, 20)
        assert next(found.train(2)).segmentation is None

    def test_order_is_the_lists(self, folder):
        Image.fromarray(np.full((4, 4, 3), 10, np.uint8)).save(folder / "JPEGImages" / "b.jpg")
        batch = next(data(folder).held_out("val", 2))
        assert batch.image[0].max() < batch.image[1].min()


class TestMistakes:
    def test_no_such_list(self, folder):
        with pytest.raises(ConfigError, match="has no list 'vall'; did you mean 'val'"):
            data(folder, val="vall").size("val")

    def test_a_picture_is_gone(self, folder):
        (folder / "JPEGImages" / "a.jpg").unlink()
        with pytest.raises(BadFile, match=r"a.jpg does not exist"):
            list(data(folder).held_out("val", 2))

    def test_a_mask_in_colour(self, folder):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "SegmentationClass" / "a.png")
        with pytest.raises(BadFile, match=r"a.png is no index picture"):
            list(data(folder).held_out("val", 2))


class TestBoxes:
    @pytest.fixture
    def boxes(self, folder: Path) -> Path:
        (folder / "Annotations").mkdir()
        for name, objects in (("a", [("cat", 1, 1, 4, 2), ("ant", 2, 3, 3, 4)]), ("b", [])):
            text = "".join(
                f"<object><name>{kind}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
                f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
                for kind, x0, y0, x1, y1 in objects
            )
            (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
        (folder / "ImageSets" / "Main").mkdir()
        (folder / "ImageSets" / "Main" / "val.txt").write_text("a  1\nb -1\n")
        return folder

    def test_pixels_count_from_one_and_the_last_is_inside(self, boxes):
        found = data(boxes, annotations="boxes", train="val")
        batch = next(found.held_out("val", 2))
        np.testing.assert_allclose(
            batch.properties["box"][0], [[0, 0, 2 / 4, 1], [2 / 4, 1 / 4, 1, 3 / 4]]
        )
        np.testing.assert_array_equal(batch.properties["category"], [[2, 1], [0, 0]])
        assert (batch.num_objects.tolist(), found.semantic_classes) == ([2, 0], 2)

    @pytest.mark.parametrize("text", ["", "<annotation>", "<a><object><name>x</name></object></a>"])
    def test_no_annotation(self, boxes, text):
        (boxes / "Annotations" / "a.xml").write_text(text)
        with pytest.raises(BadFile, match=r"a.xml is no VOC annotation"):
            list(data(boxes, annotations="boxes", train="val").held_out("val", 2))


@pytest.mark.data
class TestSamples:
    def test_segmentation_layout(self, shared_data: Path):
        found = data(shared_data / "voc_layout", train="train", label_size=(64, 64))
        assert (found.size("train"), found.size("val")) == (10, 6)
        for batch in found.held_out("val", 6):
            assert np.asarray(batch.ignore).any(axis=(1, 2)).all()
            # Both kinds of masks cover the same pixels, but for void.
            np.testing.assert_array_equal(
                np.asarray(batch.segmentation) > 0, np.asarray(batch.semantic) > 0
            )

    def test_blood_cells(self, shared_data: Path):
        lists = shared_data / "blood_cells_voc" / "ImageSets" / "Main"
        found = data(shared_data / "blood_cells_voc", train="train", annotations="boxes")
        for split in ("train", "val"):
            assert found.size(split) == len((lists / f"{split}.txt").read_text().split())
        assert found._source("train").classes == ("Platelets", "RBC", "WBC")
        boxes = np.asarray(next(found.held_out("val", 1)).properties["box"])
        assert ((boxes >= 0) & (boxes <= 1)).all()
