"""AP of detections by pycocotools: values by hand, its own numbers, and files of strangers."""

import contextlib
import copy
import io
import json
import math
import sys

import numpy as np
import pytest

from slots.config import ConfigError
from slots.evaluation.detection import SCORES, detection_ap

pytest.importorskip("pycocotools")
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 200


def written(folder, name, data):
    path = folder / f"{name}.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def truth(annotations, pictures=(7, 3), categories=(1, 90), side=SIDE):
    return {
        "images": [{"id": n, "height": side, "width": side} for n in pictures],
        "categories": [{"id": n, "name": str(n)} for n in categories],
        "annotations": [{"id": n, **one} for n, one in enumerate(annotations)],
    }


def polygon(left, top, width, height):
    right, bottom = left + width, top + height
    return [[left, top, right, top, right, bottom, left, bottom]]


def thing(*box, picture=7, category=90, **extra):
    found = {"image_id": picture, "category_id": category, "bbox": list(box), "iscrowd": 0}
    area = {"area": box[2] * box[3], "segmentation": polygon(*box)}
    return {**found, **area, **extra}


def result(score, *box, picture=7, category=90, **extra):
    found = {"image_id": picture, "category_id": category, "score": score, "bbox": list(box)}
    return {**found, "segmentation": polygon(*box), **extra}


SMALL, MEDIUM, NOWHERE = (10, 10, 20, 20), (100, 100, 40, 40), (50, 10, 20, 20)
TRUTH = truth([thing(*SMALL), thing(*MEDIUM), thing(0, 0, 5, 5, iscrowd=1)])
FOUND = [result(0.7, *MEDIUM), result(0.9, *SMALL), result(0.8, *NOWHERE)]


def ap(folder, annotations=TRUTH, results=FOUND, kind="bbox"):
    return detection_ap(
        written(folder, "truth", annotations), written(folder, "results", results), kind
    )


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_right_wrong_right(kind, tmp_path, capsys):
    """Precision 1 at 51 recall points and 2/3 at 50, or 1/2 where the wrong one comes first."""
    found = ap(tmp_path, kind=kind)
    whole = (51 + 50 * 2 / 3) / 101
    expected = {"AP": whole, "AP50": whole, "AP75": whole, "APs": 1.0, "APm": 1.0}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert math.isnan(found["APl"])
    assert (found["pictures"], found["annotations"]) == (2, 2)
    assert capsys.readouterr().out == ""


def test_loose_boxes_count_at_low_thresholds_only(tmp_path):
    """An IoU of 20·14 / 20·20 = 0.7 passes 5 of 10 thresholds."""
    annotations, results = truth([thing(10, 10, 20, 20)]), [result(0.9, 10, 10, 20, 14)]
    found = ap(tmp_path, annotations, results)
    assert found["AP50"] == pytest.approx(1)
    assert found["AP75"] == 0
    assert found["AP"] == pytest.approx(0.5)


def test_detections_in_crowds_do_not_count(tmp_path):
    annotations = truth([thing(*SMALL), thing(40, 0, 60, 60, iscrowd=1)])
    assert ap(tmp_path, annotations, FOUND[1:])["AP"] == pytest.approx(1)
    assert ap(tmp_path, annotations, [*FOUND[1:], result(0.95, *MEDIUM)])["AP"] == pytest.approx(
        0.5
    )


def test_nothing_found_and_nothing_there(tmp_path):
    assert ap(tmp_path, results=[])["AP"] == 0
    for annotations in (truth([]), truth([], pictures=()), truth([], categories=())):
        nothing = ap(tmp_path, annotations, [])
        assert all(math.isnan(nothing[name]) for name in SCORES)
        assert nothing["annotations"] == 0


def random_files(seed):
    """Objects of two categories in ten pictures, and results around them."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for picture in rng.permutation(np.arange(5, 15)).tolist():
        for _ in range(rng.integers(0, 6)):
            box = [int(x) for x in (*rng.integers(0, 80, 2), *rng.integers(8, 110, 2))]
            category, crowd = int(rng.choice([1, 90])), int(rng.random() < 0.1)
            place = {"picture": picture, "category": category}
            objects.append(thing(*box, **place, iscrowd=crowd))
            for _ in range(rng.integers(0, 3)):
                moved = [x + float(d) for x, d in zip(box, rng.normal(0, 3, 4), strict=True)]
                found.append(result(round(float(rng.random()), 1), *moved, **place))
    return truth(objects, pictures=sorted({o["image_id"] for o in objects}, reverse=True)), found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_numbers_are_those_of_pycocotools(kind, tmp_path):
    annotations, found = random_files(0)
    for one in annotations["annotations"]:
        one["id"] += 1  # 0 would be missed there
    for one in found:
        if kind == "segm":  # with boxes, loadRes takes their areas
            del one["bbox"]
            drawn = mask.merge(mask.frPyObjects(one["segmentation"], SIDE, SIDE))
            one["segmentation"] = {**drawn, "counts": drawn["counts"].decode()}
    got = ap(tmp_path, annotations, found, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        side = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(side, side.loadRes(copy.deepcopy(found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.9
    np.testing.assert_allclose([got[name] for name in SCORES], evaluation.stats[:6], atol=1e-12)


def test_an_annotation_called_0_is_found(tmp_path):
    assert TRUTH["annotations"][0]["id"] == 0
    assert ap(tmp_path, truth([thing(*SMALL)]), FOUND[1:2])["AP"] == pytest.approx(1)


def test_masks_in_any_form_are_the_same(tmp_path):
    """Polygons, text, and runs down the columns, which have another area than the box says."""
    box = (2, 0, 6, 200)
    runs = {"size": [SIDE, SIDE], "counts": [2 * SIDE, 6 * SIDE, SIDE * SIDE - 8 * SIDE]}
    text = mask.frPyObjects(runs, SIDE, SIDE)
    forms = [polygon(*box), runs, {**text, "counts": text["counts"].decode()}]
    for one in forms:
        annotations = truth([thing(*box, segmentation=one)])
        for other in forms:
            found = ap(tmp_path, annotations, [result(1.0, *SMALL, segmentation=other)], "segm")
            assert found["AP"] == found["APm"] == pytest.approx(1)


def changed(entry, **changes):
    return [{n: x for n, x in {**entry, **changes}.items() if x is not ...}]


NUMBER = "an entry 1 that cannot be used"


@pytest.mark.parametrize(
    ("results", "kind", "message"),
    [
        ("[{", "bbox", "truncated or no JSON"),
        ("[" * 100_000, "bbox", "truncated or no JSON"),
        ({}, "bbox", "should be a list of detections"),
        ([7], "bbox", NUMBER),
        (changed(FOUND[0], score=...), "bbox", f"{NUMBER} .it lacks 'score'"),
        (changed(FOUND[0], score="high"), "bbox", NUMBER),
        (changed(FOUND[0], score=math.nan), "bbox", "its score is nan"),
        (changed(FOUND[0], score=10**400), "bbox", NUMBER),
        (changed(FOUND[0], image_id=8), "bbox", "the annotations have no image_id 8"),
        (changed(FOUND[0], image_id=[]), "bbox", NUMBER),
        (changed(FOUND[0], category_id=2), "bbox", "the annotations have no category_id 2"),
        (changed(FOUND[0], bbox=...), "bbox", "it lacks 'bbox'"),
        (changed(FOUND[0], bbox=[1, 2, 3]), "bbox", r"its bbox is \[1, 2, 3\]"),
        (changed(FOUND[0], bbox=[1, 2, 3, -1]), "bbox", "its bbox is"),
        (changed(FOUND[0], bbox=[1, 2, 3, math.inf]), "bbox", "its bbox is"),
        (changed(FOUND[0], segmentation=...), "segm", "it lacks 'segmentation'"),
        (changed(FOUND[0], segmentation=[]), "segm", "no polygon"),
        (changed(FOUND[0], segmentation=[[1, 2, 3, 4]]), "segm", "three or more"),
        (changed(FOUND[0], segmentation=[[0, 0, 1e9, 0, 0, 1e9]]), "segm", "leaves the picture"),
        (changed(FOUND[0], segmentation=[[0, 0, 3e4, 3e4] * 50]), "segm", "too long"),
        (changed(FOUND[0], segmentation=[[0, 0, None, 1, 2, 3]]), "segm", NUMBER),
        (changed(FOUND[0], segmentation={"size": [4, 4], "counts": [16]}), "segm", "not fill"),
        *(
            (changed(FOUND[0], segmentation={"size": [SIDE, SIDE], "counts": x}), "segm", message)
            for x, message in [
                ([], "not fill"),
                ("", "not fill"),
                ([SIDE], "not fill"),
                ([SIDE * SIDE + 1, -1], "not fill"),
                ([2**31], "not fill"),
                ([[SIDE * SIDE]], "not fill"),
                ([10**30], NUMBER),
                ("~~", "unknown encoding"),
                ("o", "break off"),
                (None, NUMBER),
            ]
        ),
    ],
)
def test_results_that_cannot_be_used(results, kind, message, tmp_path):
    with pytest.raises(ConfigError, match=rf"results\.json .*{message}"):
        ap(tmp_path, results=results, kind=kind)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ...}, "no COCO file of instances .it lacks 'images'"),
        ({"annotations": 3}, "no COCO file of instances"),
        ({"categories": [3]}, "no COCO file of instances"),
        ({"images": TRUTH["images"] * 2}, "two images have one id"),
        ({"images": [{"id": 7}]}, "it lacks 'height'"),
        ({"images": [{"id": 7, "height": 2**16, "width": 2**16}]}, "65536×65536 pixels"),
        ({"images": [{"id": "a"}, {"id": 7}]}, "no COCO file of instances"),
        ({"images": [{"id": 3, "height": 9, "width": 9}]}, "no image_id 7"),
        ({"annotations": changed(TRUTH["annotations"][0], area=...)}, "it lacks 'area'"),
        ({"annotations": changed(TRUTH["annotations"][0], area=math.nan)}, "its area is nan"),
        ({"annotations": changed(TRUTH["annotations"][0], iscrowd=None)}, NUMBER),
        ({"annotations": changed(TRUTH["annotations"][0], segmentation=None)}, NUMBER),
    ],
)
def test_annotations_that_cannot_be_used(changes, message, tmp_path):
    (annotations,) = changed(TRUTH, **changes)
    with pytest.raises(ConfigError, match=rf"truth\.json .*{message}"):
        ap(tmp_path, annotations=annotations, kind="segm")


def test_too_many_pairs_are_refused(tmp_path):
    many = [{"id": n} for n in range(5000)]
    with pytest.raises(ConfigError, match="5,000 pictures, 5,000 categories"):
        ap(tmp_path, {"images": many, "categories": many, "annotations": []}, [])


def test_missing_files(tmp_path):
    with pytest.raises(ConfigError, match=r"truth\.json cannot be read \(No such file"):
        detection_ap(tmp_path / "truth.json", tmp_path / "results.json", "bbox")
    with pytest.raises(ConfigError, match=r"results\.json cannot be read \(No such file"):
        detection_ap(written(tmp_path, "truth", TRUTH), tmp_path / "results.json", "bbox")


def test_without_pycocotools_it_says_how_to_get_it(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("pycocotools")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"needs pycocotools; pip install 'slots\[coco\]'"):
        ap(tmp_path)
