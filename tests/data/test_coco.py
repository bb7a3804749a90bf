"""COCO: polygons and runs, overlaps and crowds, gaps in the ids, panoptic numbers, and mistakes."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slots.config import ConfigError
from slots.data.coco import CocoConfig, CocoSource
from slots.data.coco_masks import covered, panoptic_map
from slots.data.pictures import BadFile
from slots.data.stored import Example

# Ids with gaps, not in order, as files may have them.
CATEGORIES = [{"id": 13, "name": "stop sign"}, {"id": 1, "name": "person"}, {"id": 11, "name": "x"}]
A = [[0, 0, 2, 0, 2, 2, 0, 2]]
B = [[1, 1, 3, 1, 3, 3, 1, 3]]
IN_A = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
IN_B = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
RUNS = {"size": [4, 5], "counts": [2, 1, 16, 1]}  # down the columns
IN_RUNS = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool)


def annotation(segmentation: Any, picture: int = 7, **changes: Any) -> dict[str, Any]:
    found = {"image_id": picture, "category_id": 1, "iscrowd": 0, "bbox": [1, 2, 3, 1], "id": 5}
    return {**found, "segmentation": segmentation, **changes}


def store(
    root: Path, annotations: list[Any], name: str = "instances_val2017", **extra: Any
) -> Path:
    """Pictures 7, 9 and 10, of 5x4 pixels; the JSON lists them in another order."""
    images = [
        {"id": n, "file_name": f"{n:012d}.jpg", "height": 4, "width": 5, "license": 1}
        for n in (9, 7, 10)
    ]
    for one in images:
        picture = root / "val2017" / one["file_name"]
        picture.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), 20 * one["id"], np.uint8)).save(picture)
    data = {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "annotations").mkdir(exist_ok=True)
    path = root / "annotations" / f"{name}.json"
    path.write_text(json.dumps({**data, **extra}))
    return path


def source(root: Path, name: str = "val2017", **changes: Any) -> CocoSource:
    return CocoConfig(path=str(root), **changes).open(name)


def example(root: Path, annotations: list[Any], **changes: Any) -> Example:
    """Picture 7 with these."""
    store(root, annotations)
    return source(root, **changes)[0]


class TestRegions:
    def test_polygons(self):
        np.testing.assert_array_equal(covered([np.array(A[0], float)], (4, 5)), IN_A)
        both = covered([np.array(A[0], float), np.array(B[0], float)], (4, 5))
        np.testing.assert_array_equal(both, IN_A | IN_B)

    def test_runs_go_down_the_columns_from_zeros(self):
        np.testing.assert_array_equal(covered(np.array(RUNS["counts"]), (4, 5)), IN_RUNS)

    @pytest.mark.parametrize("seed", range(4))
    def test_text_as_pycocotools_writes_it(self, seed):
        from pycocotools import mask

        inside = np.random.default_rng(seed).random((60, 71)) < (0.02, 0.5, 0.98, 0)[seed]
        text = mask.encode(np.asfortranarray(inside, np.uint8))["counts"].decode()
        np.testing.assert_array_equal(covered(text, (60, 71)), inside)

    @pytest.mark.parametrize(
        "region",
        [
            np.array([3, 2]),
            np.array([3, 2, 10**15]),
            np.array([3, -2, 19]),
            np.array([[20]]),
            np.zeros(0, np.int64),
            "3",
            "",
            "d",
            "dd" * 1000,
            "O",
            "~",
        ],
    )
    def test_runs_that_cannot_be(self, region):
        with pytest.raises(ValueError, match="has runs"):
            covered(region, (4, 5))


class TestOverlaps:
    def test_the_first_wins_in_both_maps(self, tmp_path):
        # Neither the id nor the size says who is first, but the file.
        found = example(
            tmp_path, [annotation(B, id=9, category_id=13), annotation(A, id=3), annotation(A, 10)]
        )
        np.testing.assert_array_equal(found.segmentation, np.where(IN_B, 1, 2 * IN_A))
        np.testing.assert_array_equal(found.semantic, np.where(IN_B, 3, 1 * IN_A))
        np.testing.assert_array_equal(found.ignore, IN_A & IN_B)

    def test_first_alone_ignores_nothing(self, tmp_path):
        found = example(tmp_path, [annotation(A), annotation(B)], overlaps="first")
        np.testing.assert_array_equal(found.segmentation, np.where(IN_A, 1, 2 * IN_B))
        assert found.ignore is not None
        assert not found.ignore.any()

    def test_more_objects_than_a_byte_counts(self, tmp_path):
        found = example(tmp_path, [annotation(A)] * 299 + [annotation(RUNS)])
        np.testing.assert_array_equal(found.segmentation, np.where(IN_RUNS, 300, 1 * IN_A))

    def test_an_object_without_pixels_keeps_its_number(self, tmp_path):
        # train2017 has such a one (picture 200365).
        flat = [[1.65, 3.33, 1.65, 3.33, 2.68, 3.33, 2.68, 3.33]]
        store(tmp_path, [annotation(flat, bbox=[1.65, 3.33, 1.03, 0]), annotation(A)])
        data = CocoConfig(path=str(tmp_path), train="", image_size=(4, 5), label_size=(4, 5)).make()
        batch = next(data.held_out("val", 1))
        np.testing.assert_array_equal(batch.segmentation[0], 2 * IN_A)
        assert batch.visibility[0].tolist() == [False, True]


class TestCrowds:
    BOTH = (annotation(A), annotation(RUNS, iscrowd=1, category_id=13), annotation(B))

    @pytest.mark.parametrize("overlaps", ["ignore", "first"])
    def test_ignored(self, tmp_path, overlaps):
        found = example(tmp_path, list(self.BOTH), overlaps=overlaps)
        np.testing.assert_array_equal(found.segmentation, np.where(IN_A, 1, 2 * IN_B))
        shared = IN_A & IN_B if overlaps == "ignore" else False
        np.testing.assert_array_equal(found.ignore, IN_RUNS | shared)
        np.testing.assert_array_equal(found.properties["category"], [1, 1])

    def test_an_object(self, tmp_path):
        found = example(tmp_path, list(self.BOTH), crowd="object")
        np.testing.assert_array_equal(
            found.segmentation, np.where(IN_A, 1, np.where(IN_RUNS, 2, 3 * IN_B))
        )
        np.testing.assert_array_equal(found.ignore, IN_A & IN_B)
        np.testing.assert_array_equal(found.properties["category"], [1, 3, 1])

    def test_background(self, tmp_path):
        found = example(tmp_path, list(self.BOTH), crowd="background")
        np.testing.assert_array_equal(found.segmentation, np.where(IN_A, 1, 2 * IN_B))
        np.testing.assert_array_equal(found.ignore, IN_A & IN_B)
        assert found.semantic is not None
        assert found.semantic.max() == 1

    @pytest.mark.parametrize(
        ("overlaps", "crowd", "ignored"),
        [
            ("ignore", "ignore", IN_A),
            ("first", "ignore", False),
            ("ignore", "object", IN_A),
            ("ignore", "background", False),
        ],
    )
    def test_an_object_inside_a_crowd(self, tmp_path, overlaps, crowd, ignored):
        pair = [annotation(A), annotation(A, iscrowd=1)]
        found = example(tmp_path, pair, overlaps=overlaps, crowd=crowd)
        np.testing.assert_array_equal(found.segmentation, 1 * IN_A)
        np.testing.assert_array_equal(found.ignore, IN_A & ignored)

    def test_counts_follow(self, tmp_path):
        store(tmp_path, list(self.BOTH))
        for crowd, count in (("ignore", 2), ("object", 3), ("background", 2)):
            found = source(tmp_path, crowd=crowd)
            assert found.object_counts().tolist() == [count, 0, 0]
            assert found.max_objects == count


class TestPictures:
    def test_come_in_the_order_of_their_names(self, tmp_path):
        store(tmp_path, [])
        for annotations in ("instances", "none"):
            found = source(tmp_path, annotations=annotations)
            assert [found[i].image.flat[0] for i in range(3)] == [140, 180, 200]

    def test_without_annotation_all_is_background(self, tmp_path):
        found = example(tmp_path, [annotation(A, 9)])
        assert found.segmentation is not None
        assert not found.segmentation.any()
        assert found.boxes is not None
        assert found.boxes.shape == (0, 4)

    def test_grey_becomes_colour_and_none_is_turned(self, tmp_path):
        store(tmp_path, [])
        turned = Image.Exif()
        turned[274] = 6
        grey = Image.fromarray(np.full((4, 5), 77, np.uint8))
        grey.save(tmp_path / "val2017" / "000000000007.jpg", exif=turned)
        found = source(tmp_path)[0]
        np.testing.assert_array_equal(found.image, np.full((4, 5, 3), 77))

    def test_boxes(self, tmp_path):
        found = example(tmp_path, [annotation(A, bbox=[1, 2, 3.5, 1])])
        np.testing.assert_array_equal(found.boxes, [[2, 1, 3, 4.5]])

    def test_classes_have_no_gaps(self, tmp_path):
        store(tmp_path, [])
        assert source(tmp_path).classes == ("person", "x", "stop sign")

    @pytest.mark.parametrize("name", ["unlabeled2017", "test2017"])
    def test_unlabelled_are_pictures_alone(self, tmp_path, name):
        store(tmp_path, [annotation(A)])
        (tmp_path / "val2017").rename(tmp_path / name)
        found = source(tmp_path, name)
        assert (len(found), found.max_objects, found.classes) == (3, 0, ())
        assert found[0].segmentation is found[0].semantic is found[0].ignore is None

    def test_framed_as_published(self, tmp_path):
        store(tmp_path, [annotation([[2, 0, 5, 0, 5, 4, 2, 4]])])
        data = CocoConfig(path=str(tmp_path), train="").make()
        batch = next(data.held_out("val", 3))
        assert batch.image.shape == (3, 224, 224, 3)
        # Of 400 columns 40 are cut at each side: the object begins at 160 of them.
        expected = np.broadcast_to(np.arange(320) >= 120, (320, 320))
        np.testing.assert_array_equal(batch.segmentation[0], expected)


class TestSubset:
    @pytest.mark.parametrize(
        "lines",
        [
            "10\n7\n\n",
            "000000000010.jpg\n000000000007.jpg\n139\n",
            "val2014/COCO_val2014_000000000007.jpg\nCOCO_train2014_000000000010.jpg",
            "000000000007\r\n000000000010\r\n",
        ],
    )
    def test_leaves_out_the_others(self, tmp_path, lines):
        store(tmp_path, [annotation(A), annotation(A, 9), annotation(B, 9)])
        (tmp_path / "list.txt").write_text(lines)
        for annotations in ("instances", "none"):
            found = source(tmp_path, annotations=annotations, subset=str(tmp_path / "list.txt"))
            assert [found[i].image.flat[0] for i in range(len(found))] == [140, 200]
        assert source(tmp_path, subset=str(tmp_path / "list.txt")).max_objects == 1

    def test_mistakes(self, tmp_path):
        store(tmp_path, [])
        listed = tmp_path / "list.txt"
        with pytest.raises(ConfigError, match=r"data.subset=.*list.txt does not exist"):
            source(tmp_path, subset=str(listed))
        listed.write_text("139\n")
        with pytest.raises(ConfigError, match=r"names no picture of .*val2017"):
            source(tmp_path, subset=str(listed))
        listed.write_bytes(b"\xff\xd8")
        with pytest.raises(BadFile, match=r"list.txt is no text file"):
            source(tmp_path, subset=str(listed))


def colours(numbers: np.ndarray) -> np.ndarray:
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)


class TestPanoptic:
    KINDS = (
        {"id": 1, "name": "person", "isthing": 1},
        {"id": 44, "name": "bottle", "isthing": 1},
        {"id": 200, "name": "rug", "isthing": 0},
    )
    NUMBERS = np.array([[0, 3937500, 300, 300, 300]] * 2 + [[70000, 3937500, 5, 5, 9]] * 2)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A thing, stuff, another thing, and a crowd; 9 of them are not in the picture."""
        kinds = [(300, 200, 0), (3937500, 44, 0), (9, 1, 0), (8, 1, 0), (70000, 1, 0), (5, 1, 1)]
        segments = [
            {"id": n, "category_id": category, "iscrowd": crowd, "bbox": [0, 1, 2, 3], "area": 1}
            for n, category, crowd in kinds
        ]
        empty: list[Any] = []
        annotations = [
            {"image_id": n, "file_name": f"{n:012d}.png", "segments_info": s}
            for n, s in ((7, segments), (9, empty), (10, empty))
        ]
        store(tmp_path, annotations, "panoptic_val2017", categories=self.KINDS)
        maps = tmp_path / "annotations" / "panoptic_val2017"
        maps.mkdir()
        for n in (7, 9, 10):
            numbers = self.NUMBERS if n == 7 else np.zeros((4, 5), int)
            Image.fromarray(colours(numbers)).save(maps / f"{n:012d}.png")
        return tmp_path

    def test_numbers_are_read_from_colours(self, folder):
        path = folder / "annotations" / "panoptic_val2017" / "000000000007.png"
        expected = np.array([[0, 2, 1, 1, 1]] * 2 + [[3, 2, 5, 5, 4]] * 2)
        rows = panoptic_map(path, [300, 3937500, 70000, 9, 5])
        np.testing.assert_array_equal(rows, expected)

    @pytest.mark.parametrize(
        ("crowd", "label", "category", "ignored"),
        [("ignore", 0, 0, True), ("background", 0, 0, False), ("object", 5, 1, False)],
    )
    def test_things_stuff_and_crowds(self, folder, crowd, label, category, ignored):
        found = source(folder, annotations="panoptic", crowd=crowd)
        one = found[0]
        np.testing.assert_array_equal(
            one.segmentation, [[0, 1, 0, 0, 0]] * 2 + [[4, 1, label, label, 2]] * 2
        )
        np.testing.assert_array_equal(
            one.semantic, [[0, 2, 3, 3, 3]] * 2 + [[1, 2, category, category, 1]] * 2
        )
        np.testing.assert_array_equal(
            one.ignore, [[1, 0, 0, 0, 0]] * 2 + [[0, 0, ignored, ignored, 0]] * 2
        )
        categories = [2, 1, 1, 1, 1][: 5 if crowd == "object" else 4]
        np.testing.assert_array_equal(one.properties["category"], categories)
        assert found.max_objects == len(categories)
        assert found.classes == ("person", "bottle", "rug")

    def test_nothing_but_void(self, folder):
        found = source(folder, annotations="panoptic")[1]
        assert found.ignore is not None
        assert found.ignore.all()

    def test_an_unlisted_segment(self, folder):
        path = folder / "annotations" / "panoptic_val2017" / "000000000009.png"
        Image.fromarray(colours(np.full((4, 5), 66000))).save(path)
        with pytest.raises(BadFile, match=r"0009.png has segment 66000, which its segments_info"):
            source(folder, annotations="panoptic")[1]

    def test_maps_still_packed(self, folder):
        (folder / "annotations" / "panoptic_val2017").rename(folder / "elsewhere")
        with pytest.raises(ConfigError, match=r"panoptic_val2017 does not exist; unpack"):
            source(folder, annotations="panoptic")

    @pytest.mark.parametrize("number", [0, 2**24, 10**30, "x", None])
    def test_a_number_that_no_colour_has(self, folder, number):
        path = folder / "annotations" / "panoptic_val2017.json"
        data = json.loads(path.read_text())
        data["annotations"][0]["segments_info"][0]["id"] = number
        path.write_text(json.dumps(data))
        with pytest.raises(BadFile, match=r"panoptic_val2017.json is no COCO file of panoptic"):
            source(folder, annotations="panoptic")

    def test_a_picture_without_map(self, folder):
        path = folder / "annotations" / "panoptic_val2017.json"
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "annotations": data["annotations"][1:]}))
        with pytest.raises(BadFile, match=r"has no annotation of 000000000007.jpg"):
            source(folder, annotations="panoptic")[0]

    def test_another_size(self, folder):
        path = folder / "annotations" / "panoptic_val2017" / "000000000009.png"
        Image.fromarray(colours(np.zeros((5, 4), int))).save(path)
        with pytest.raises(BadFile, match=r"0009.png is for 4x5 pixels, but 0+9.jpg has 5x4"):
            source(folder, annotations="panoptic")[1]


class TestStuff:
    VALUES = np.array([[0, 181, 255, 91, 7]] * 4, np.uint8)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        store(tmp_path, [])
        maps = tmp_path / "stuffthingmaps" / "val2017"
        maps.mkdir(parents=True)
        Image.fromarray(self.VALUES).save(maps / "000000000007.png")
        Image.fromarray(np.repeat(self.VALUES[..., None], 3, -1)).save(maps / "000000000009.png")
        return tmp_path

    @pytest.mark.parametrize("index", [0, 1], ids=["grey", "three equal channels"])
    def test_values_are_ids_less_one(self, folder, index):
        found = source(folder, annotations="stuff")
        one = found[index]
        np.testing.assert_array_equal(one.semantic, [[1, 182, 0, 92, 8]] * 4)
        np.testing.assert_array_equal(one.ignore, self.VALUES == 255)
        assert one.segmentation is None
        assert len(found.classes) == 182

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (np.full((4, 5), 200, np.uint8), "has value 200"),
            (np.zeros((5, 4), np.uint8), "is for 4x5 pixels"),
            (colours(np.full((4, 5), 7)), "is no grey picture"),
            (None, "does not exist"),
        ],
    )
    def test_mistakes(self, folder, values, reason):
        path = folder / "stuffthingmaps" / "val2017" / "000000000010.png"
        if values is not None:
            Image.fromarray(values).save(path)
        with pytest.raises(BadFile, match=f"0010.png {reason}"):
            source(folder, annotations="stuff")[2]


class TestMistakes:
    def test_no_such_folder(self, tmp_path):
        store(tmp_path, [])
        with pytest.raises(ConfigError, match="has no folder 'val2107' of pictures; did you mean"):
            source(tmp_path, "val2107")

    def test_no_such_annotations(self, tmp_path):
        store(tmp_path, [], "captions_val2017")
        expected = r"annotations should have instances_val2017.json; .* has captions_val2017.json"
        with pytest.raises(ConfigError, match=expected):
            source(tmp_path)

    def test_no_annotations_at_all(self, tmp_path):
        (tmp_path / "val2017").mkdir()
        with pytest.raises(ConfigError, match="there is no such folder"):
            source(tmp_path)

    def test_a_picture_is_gone(self, tmp_path):
        store(tmp_path, [annotation(A)])
        (tmp_path / "val2017" / "000000000007.jpg").unlink()
        with pytest.raises(BadFile, match=r"000000000007.jpg does not exist"):
            source(tmp_path)[0]

    def test_truncated(self, tmp_path):
        path = store(tmp_path, [annotation(A)])
        for size in (0, 10, path.stat().st_size - 1):
            path.write_bytes(path.read_bytes()[:size])
            with pytest.raises(BadFile, match=r"instances_val2017.json is truncated or no JSON"):
                source(tmp_path)

    def test_nested_without_end(self, tmp_path):
        store(tmp_path, []).write_text("[" * 10**6)
        with pytest.raises(BadFile, match="is truncated or no JSON"):
            source(tmp_path)

    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            "{}",
            "3",
            '{"images": 3, "categories": [], "annotations": []}',
            '{"images": [{"id": 1}], "categories": [], "annotations": []}',
        ],
    )
    def test_another_layout(self, tmp_path, text):
        store(tmp_path, []).write_text(text)
        with pytest.raises(BadFile, match=r"instances_val2017.json is no COCO file of instances"):
            source(tmp_path)

    @pytest.mark.parametrize(
        ("one", "reason"),
        [
            (annotation(A, 8), "annotates picture 8, which is not among its images"),
            (annotation(A, category_id=2), "lacks 2"),
            (annotation(A, bbox=[1, 2, 3]), "is no COCO file"),
            (annotation(A, bbox=[1, 2, 3, float("nan")]), "bbox .1, 2, 3, nan"),
            (annotation([]), "malformed segmentation of annotation 5 .it has no polygon"),
            (annotation([[1, 2, 3, 4]]), "malformed segmentation of annotation 5"),
            (annotation([[1, 2, 3, 4, 5, 6, 7]]), "malformed segmentation of annotation 5"),
            (annotation([[1, 2, 3, 4, 5, "x"]]), "malformed segmentation of annotation 5"),
            (annotation([[1, 2, 3, 4, 5, float("nan")]]), "malformed segmentation"),
            (annotation([[1, 2, 3, 4, 5, 1e9]]), "malformed segmentation of annotation 5"),
            (annotation([1, 2, 3, 4, 5, 6]), "malformed segmentation of annotation 5"),
            (annotation("x"), "malformed segmentation of annotation 5"),
            (annotation(None), "malformed segmentation of annotation 5"),
            (annotation({"size": [4, 5], "counts": 3}), "malformed segmentation of annotation 5"),
            (annotation({"size": [4, 5], "counts": [10**30]}), "malformed segmentation"),
            (annotation({**RUNS, "size": [5, 4]}), r"mask of size \[5, 4\] of annotation 5"),
            (annotation({**RUNS, "size": 20}), "is no COCO file"),
            ({"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}, "lacks 'segmentation'"),
        ],
    )
    def test_annotations_that_cannot_be(self, tmp_path, one, reason):
        store(tmp_path, [one])
        with pytest.raises(BadFile, match=f"instances_val2017.json .*{reason}"):
            source(tmp_path)

    def test_runs_that_do_not_fill_the_picture(self, tmp_path):
        # pycocotools gives what the memory happened to hold.
        store(tmp_path, [annotation({**RUNS, "counts": [2, 1]})])
        with pytest.raises(BadFile, match=r"do not fill the picture, in 000000000007.jpg"):
            source(tmp_path)[0]

    def test_another_picture_than_the_annotated(self, tmp_path):
        store(tmp_path, [annotation(A)])
        path = tmp_path / "val2017" / "000000000007.jpg"
        Image.fromarray(np.zeros((5, 4, 3), np.uint8)).save(path)
        with pytest.raises(BadFile, match=r"is for 5x4 pixels, but 0+7.jpg has 4x5"):
            source(tmp_path)[0]

    def test_no_pycocotools(self, tmp_path, monkeypatch):
        store(tmp_path, [annotation(A)])
        monkeypatch.setitem(sys.modules, "pycocotools", None)
        monkeypatch.delitem(sys.modules, "pycocotools.mask", raising=False)
        with pytest.raises(ConfigError, match=r"needs pycocotools; pip install 'slots\[coco\]'"):
            source(tmp_path)
        assert len(source(tmp_path, annotations="none")) == 3


@pytest.mark.data
class TestSamples:
    @pytest.fixture
    def sample(self, shared_data: Path) -> Path:
        return shared_data / "coco_sample"

    @pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools 2.0.11
    def test_instances_as_pycocotools_draws_them(self, sample: Path):
        from pycocotools.coco import COCO

        oracle = COCO(sample / "annotations" / "instances_val2017.json")
        ids = sorted(oracle.getImgIds())
        contiguous = {c: i + 1 for i, c in enumerate(sorted(oracle.getCatIds()))}
        spot = source(sample, crowd="object")
        house, dinosaur = source(sample), source(sample, crowd="background")
        assert len(spot) == len(ids) == 40
        crowds = 0
        for index, picture in enumerate(ids):
            found = oracle.loadAnns(oracle.getAnnIds(imgIds=[picture]))
            masks = np.array([oracle.annToMask(one) for one in found], bool)
            plain = masks[[not one["iscrowd"] for one in found]]
            crowd = masks[[bool(one["iscrowd"]) for one in found]].any(0)
            crowds += len(masks) - len(plain)
            one, other, least = spot[index], house[index], dinosaur[index]
            for drawn, wanted in ((one, masks), (other, plain), (least, plain)):
                labels = np.where(wanted.any(0), wanted.argmax(0) + 1, 0)
                np.testing.assert_array_equal(drawn.segmentation, labels)
            np.testing.assert_array_equal(one.ignore, masks.sum(0) > 1)
            np.testing.assert_array_equal(other.ignore, (plain.sum(0) > 1) | crowd)
            np.testing.assert_array_equal(least.ignore, plain.sum(0) > 1)
            category = [contiguous[a["category_id"]] for a in found]
            np.testing.assert_array_equal(one.properties["category"], category)
            assert one.segmentation is not None
            np.testing.assert_array_equal(one.semantic, np.array([0, *category])[one.segmentation])
            assert house.object_counts()[index] == len(plain)
            assert one.boxes is not None
            for box, a in zip(one.boxes, found, strict=True):
                sides = [a["bbox"][1], a["bbox"][0], a["bbox"][1] + a["bbox"][3]]
                np.testing.assert_allclose(box, [*sides, a["bbox"][0] + a["bbox"][2]])
        assert crowds == 7
        assert len(spot.classes) == 80
        assert (spot.classes[0], spot.classes[11], spot.classes[79]) == (
            *("person", "stop sign", "toothbrush"),
        )

    def test_batches(self, sample: Path):
        data = CocoConfig(path=str(sample), train="val2017[0:30]", val="val2017[30:]").make()
        assert (data.size("train"), data.size("val"), data.semantic_classes) == (30, 10, 80)
        batch = next(data.held_out("val", 10))
        assert batch.segmentation.shape == (10, 320, 320)
        assert data.max_objects == batch.visibility.shape[1]
        assert int(batch.segmentation.max()) <= data.max_objects

    def test_panoptic_sample_covers_what_instances_do(self, sample: Path):
        # It was made from them; smaller objects lie on top there.
        instances = source(sample, crowd="object", overlaps="first")
        panoptic = source(sample, annotations="panoptic", crowd="object")
        for index in range(0, 40, 4):
            one, other = panoptic[index], instances[index]
            assert one.segmentation is not None
            assert other.segmentation is not None
            np.testing.assert_array_equal(one.segmentation > 0, other.segmentation > 0)
            np.testing.assert_array_equal(one.ignore, other.segmentation == 0)

    def test_official_panoptic(self, shared_data: Path, tmp_path: Path):
        published = shared_data / "coco_panoptic_official"
        stored = json.loads((published / "panoptic_examples.json").read_text())
        kinds = {one["id"]: one for one in stored["categories"]}
        order = sorted(kinds)
        (tmp_path / "annotations").mkdir()
        target = tmp_path / "annotations" / "panoptic_val2017"
        target.with_suffix(".json").symlink_to(published / "panoptic_examples.json")
        target.symlink_to(published / "panoptic_examples")
        (tmp_path / "val2017").mkdir()
        for one in stored["images"]:
            blank = Image.new("RGB", (one["width"], one["height"]))
            blank.save(tmp_path / "val2017" / one["file_name"])
        found = source(tmp_path, annotations="panoptic", crowd="object")
        assert len(found.classes) == 133
        by_picture = {one["image_id"]: one["segments_info"] for one in stored["annotations"]}
        for index, picture in enumerate(sorted(by_picture)):
            one, segments = found[index], by_picture[picture]
            things = [s for s in segments if kinds[s["category_id"]]["isthing"]]
            assert one.segmentation is not None
            areas = np.bincount(one.segmentation.ravel(), minlength=len(things) + 1)
            assert areas[1:].tolist() == [s["area"] for s in things]
            classes = np.zeros(134, int)
            for s in segments:
                classes[order.index(s["category_id"]) + 1] += s["area"]
            assert one.semantic is not None
            counted = np.bincount(one.semantic.ravel(), minlength=134)
            assert counted[1:].tolist() == classes[1:].tolist()
            assert one.ignore is not None
            assert one.ignore.sum() == counted[0]
