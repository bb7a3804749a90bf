"""What is known of published data sets: who publishes them, where, under which licence, how large.

Facts alone, for `slots.data.check`. Counts that a reader needs itself are taken from there. What no
public source settles is called unverified in the text that the user sees.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from slots.data.factors import DSPRITES_FACTORS, SHAPES3D_FACTORS
from slots.data.multi_object_layout import LAYOUTS
from slots.data.pictures import Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A set as its publisher describes it."""

    name: str
    publisher: str = ""
    source: str = ""
    """Site, bucket or repository, and what it is called there."""
    licence: str = ""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Examples by the stored name of their split, as readers call it."""
    archives: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where parts are published one by one: the file of each."""
    picture: Size | None = None
    """(height, width) of all pictures."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the reader has to be told besides `path`."""


def _scenes(variant: str, name: str, file: str, **settings: Any) -> Published:
    return Published(
        name=f"{name} (Multi-Object Datasets)",
        publisher="Google DeepMind",
        source=f"Google Cloud Storage, bucket multi-object-datasets, {file}",
        licence="Apache-2.0 as the publisher's code; none is stated for the data (unverified)",
        counts={"train": LAYOUTS[variant].records},
        archives={"train": file},
        picture=LAYOUTS[variant].picture[:2],
        settings={"variant": variant, **settings},
    )


def _sprites(colors: str) -> Published:
    name = f"multi_dsprites_{colors}"
    words = colors.replace("_", " ")
    return _scenes(name, f"Multi-dSprites {words}", f"multi_dsprites/{name}.tfrecords")


def _room_test(kind: str) -> Published:
    file = f"objects_room/objects_room_test_{kind}.tfrecords"
    name = f"Objects Room {kind.replace('_', ' ')}"
    return _scenes(f"objects_room_{kind}", name, file, train="", val="train")


SCENES = {
    found.settings["variant"]: found
    for found in (
        _scenes(
            "tetrominoes",
            "Tetrominoes",
            "tetrominoes/tetrominoes_train.tfrecords",
            image_size=(35, 35),
        ),
        _sprites("binarized"),
        _sprites("colored_on_grayscale"),
        _sprites("colored_on_colored"),
        _scenes(
            "clevr_with_masks",
            "CLEVR with masks",
            "clevr_with_masks/clevr_with_masks_train.tfrecords",
            train="train[:70000]",  # as Slot Attention
            val="train[70000:70320]",
            crop=(29, 64, 192, 192),
            image_size=(128, 128),
            antialias=False,
        ),
        _scenes(
            "objects_room",
            "Objects Room",
            "objects_room/objects_room_train.tfrecords",
            train="train[20000:]",  # as GENESIS
            val="train[10000:20000]",
            test="train[:10000]",
        ),
        _room_test("empty_room"),
        _room_test("six_objects"),
        _room_test("identical_color"),
    )
}
"""Multi-Object Datasets, by variant."""

_CLEVR: dict[str, Any] = {
    "publisher": "Stanford University and Facebook AI Research",
    "licence": "CC BY 4.0",
    "picture": (320, 480),
}
CLEVR = Published(
    name="CLEVR v1.0",
    source="CLEVR_v1.0.zip (18 GB)",
    counts={"train": 70_000, "val": 15_000, "test": 15_000},
    **_CLEVR,
)
CLEVR_HANS = {
    classes: Published(
        name=f"CLEVR-Hans{classes}",
        publisher="TU Darmstadt, ml-research",
        source=f"repository ml-research/CLEVR-Hans, TUdatalib record {record} ({size} zip)",
        licence="CC BY 4.0 (unverified)",
        counts={"train": 3_000 * classes, "val": 750 * classes, "test": 750 * classes},
        picture=(320, 480),
    )
    for classes, record, size in ((3, 2611, "2.4 GB"), (7, 2618, "5.5 GB"))
}
"""By number of classes."""


def _clevrtex(variant: str, count: int) -> Published:
    """Of the authors' tenths the first is `test`, the second `val`; `outd` is all for testing."""
    tenth = count // 10
    parts = {
        "train": f"all[{2 * tenth}:]",
        "val": f"all[{tenth}:{2 * tenth}]",
        "test": f"all[:{tenth}]",
    }
    size = ", about 30 GB in five archives (unverified)" if variant == "full" else ""
    return Published(
        name=f"CLEVRTex {variant}",
        publisher="Visual Geometry Group, Oxford",
        source=f"repository karazijal/clevrtex, tar files of clevrtex_{variant}{size}",
        licence="CC BY 4.0 (unverified)",
        counts={"all": count},
        picture=(240, 320),
        settings={"variant": variant, **({} if variant == "outd" else parts)},
    )


CLEVRTEX = {
    "full": _clevrtex("full", 50_000),
    **{variant: _clevrtex(variant, 20_000) for variant in ("pbg", "vbg", "grassbg", "camo")},
    "outd": _clevrtex("outd", 10_000),
}
"""By variant."""
SHAPESTACKS = Published(
    name="ShapeStacks",
    publisher="Oxford Robotics Institute",
    source="repository ogroth/shapestacks, which says where recordings, splits and maps are",
    licence="code GPL-3 style, data for research, see the publisher's page (unverified)",
    picture=(224, 224),
)
COCO = Published(
    name="COCO 2017",
    publisher="COCO Consortium",
    source="cocodataset.org",
    licence="annotations CC BY 4.0; each picture has a Flickr licence of its own",
    counts={"train2017": 118_287, "val2017": 5_000, "test2017": 40_670, "unlabeled2017": 123_403},
    archives={
        "train2017": "train2017.zip, 18 GB",
        "val2017": "val2017.zip, 1 GB",
        "test2017": "test2017.zip",
        "unlabeled2017": "unlabeled2017.zip, 19 GB",
        "instances": "annotations_trainval2017.zip, 241 MB",
        "panoptic": "panoptic_annotations_trainval2017.zip, 821 MB",
        "stuff": "stuffthingmaps_trainval2017.zip of COCO-Stuff, 659 MB",
    },
)
VOC = Published(
    name="Pascal VOC 2012",
    publisher="PASCAL VOC project, Oxford",
    source="VOCtrainval_11-May-2012.tar (2 GB)",
    licence="Flickr's terms; research use is permitted (unverified wording)",
    counts={"train": 1_464, "val": 1_449, "trainval": 2_913, "trainaug": 10_582},
    archives={"trainaug": "trainaug.txt with SegmentationClassAug, made of Berkeley's SBD"},
)
SHAPES3D = Published(
    name="3D Shapes",
    publisher="Google DeepMind",
    source="Google Cloud Storage, bucket 3d-shapes, 3dshapes.h5 (255 MB)",
    licence="Apache-2.0",
    counts={"all": math.prod(SHAPES3D_FACTORS.values())},
    picture=(64, 64),
)
DSPRITES = Published(
    name="dSprites",
    publisher="Google DeepMind",
    source="repository google-deepmind/dsprites-dataset, "
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz (26 MB) or .hdf5",
    licence="Apache-2.0",
    counts={"all": math.prod(DSPRITES_FACTORS.values())},
    picture=(64, 64),
)


def _kubric(name: str, folder: str, licence: str, **settings: Any) -> Published:
    """Counts are those in `dataset_info.json`: scenes that failed to render are left out."""
    return Published(
        name=name,
        publisher="Kubric team",
        source=f"Google Cloud Storage, bucket kubric-public, tfds/{folder}",
        licence=licence,
        settings=settings,
    )


def _movi(builder: str, name: str, max_objects: int) -> Published:
    return _kubric(
        name,
        builder,
        "code Apache-2.0; scanned objects CC BY 4.0, backgrounds CC0 (unverified)",
        image="video",
        segmentation="segmentations",
        visibility="instances/visibility",
        boxes="instances/bboxes",
        box_frames="instances/bbox_frames",
        max_objects=max_objects,
    )


_SHAPENET = "ShapeNet's terms: research only, after registration (unverified for renderings)"
PREPARED = {
    **{f"movi_{x}": _movi(f"movi_{x}", f"MOVi-{x.upper()}", 10) for x in "abc"},
    **{f"movi_{x}": _movi(f"movi_{x}", f"MOVi-{x.upper()}", 23) for x in "def"},
    "panning_movi_e": _movi("panning_movi_e", "MOVi-E with a panning camera", 23),
    "msn_easy": _kubric("MultiShapeNet-Easy", "msn_easy", _SHAPENET),
    "multi_shapenet_conditional": _kubric(
        "MultiShapeNet-Hard", "kubric_frames/multi_shapenet_conditional/2.8.0", _SHAPENET
    ),
    "clevr": Published(
        name="CLEVR v1.0 prepared by TensorFlow Datasets",
        source="builder clevr 3.1.0 of tensorflow-datasets, which makes it of CLEVR_v1.0.zip",
        counts={"train": 70_000, "validation": 15_000, "test": 15_000},
        settings={
            "properties": (
                "position=objects/3d_coords",
                *(f"{name}=objects/{name}" for name in ("size", "material", "shape", "color")),
            ),
            "max_objects": 10,
        },
        **_CLEVR,
    ),
}
"""Sets in the layout of TensorFlow Datasets, by the builder's name."""
CONVERTED = {
    "sunds": _kubric("MultiShapeNet", "msn_easy or kubric_frames", _SHAPENET),
    "obsurf": Published(
        name="MultiShapeNet of Stelzner et al. 2021",
        publisher="the authors of ObSuRF",
        source="project page of the repository stelzner/obsurf",
        licence=_SHAPENET,
        counts={"train": 3 * 80_000, "val": 3 * 500, "test": 3 * 10_000},  # three views of each
        picture=(240, 320),
    ),
    "waymo": Published(
        name="Waymo Open, front camera as in Biza et al. 2023",
        publisher="Waymo",
        source="waymo.com/open, after registration",
        licence="Waymo's own: non-commercial, not to be passed on",
        counts={"train": 158_081, "val": 1_872},
        picture=(128, 192),
    ),
}
"""Folders that scripts/to_folder.py makes, by the kind that `made_by.txt` begins with."""
FAMILIES = (
    "Tetrominoes, Multi-dSprites, CLEVR with masks and Objects Room (Multi-Object Datasets)",
    *("CLEVR v1.0", "CLEVR-Hans", "CLEVRTex", "ShapeStacks", "COCO", "Pascal VOC", "3D Shapes"),
    *("dSprites", "MOVi and other folders of TensorFlow Datasets", "work of scripts/to_folder.py"),
)
"""All of them in a few words."""
