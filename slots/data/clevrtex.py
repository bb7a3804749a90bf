"""CLEVRTex's folders: scenes of textured objects with masks."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int32

from slots.config import ConfigError
from slots.data.clevr import CATEGORIES, MAX_OBJECTS, describe, scene_file, subfolder
from slots.data.pictures import BadFile, load_labels, load_picture
from slots.data.records import located
from slots.data.stored import Example, Source, StoredConfig

SIZES = ("small", "medium", "large")
"""0.4, 0.6 and 0.9 units, in `outd` 0.6, 0.8 and 1.0."""
SHAPES = ("cube", "sphere", "cylinder", "monkey", "cone", "icosahedron", "torus", "teapot")
"""The last four in `outd`, the others elsewhere."""
COLORS = CATEGORIES["color"]
# fmt: off
MATERIALS = (
    # full, pbg, grassbg, camo
    "bricks01", "bricksflemishred001", "brickspaintedwhite001", "carpettwistnatural001",
    "chainmailcopperroundedthin001", "citystreetasphaltgenericcracked002",
    "citystreetroadasphalttwolaneworn001", "cliffjagged004", "cobblestonearches002",
    "concretewall001", "fabricdenim003", "fabricfleece001", "fabricleatherbuffalorustic001",
    "fabricrope001", "fabricupholsterymidcenturypebbles001", "groundclay002",
    "grounddirtforest014", "grounddirtrocky002", "groundforest003", "groundforest008",
    "groundforestmulch001", "groundforestroots001", "groundmoss001", "groundsnowpitted003",
    "groundtiretracks001", "interiordesignrugstarrynight001", "marble062", "marble13",
    "metalcorrodedheavy001", "metalcorrugatedironsheet002", "metaldesignerweavesteel002",
    "metalpanelrectangular001", "metalspottydiscoloration001", "metalstainlesssteelbrushed",
    "plaster07", "plaster17", "roadcityworn001", "rooftilesterracotta004", "rustmixedonpaint012",
    "rustplain007", "solarpanelspolycrystallinetypebframedclean001", "stonebricksbeige015",
    "stonemarblecalacatta004", "terrazzovenetianmattewhite001", "tiles05",
    "tilesmarblechevroncreamgrey001", "tilesmarblesagegreenbrickbondhoned001",
    "tilesonyxopaloblack001", "tilesrectangularmirrorgray001", "wallmedieval003",
    "waterdropletsmixedbubbled001", "woodfinedark004", "woodflooring044", "woodflooring061",
    "woodflooringmahoganyafricansanded001", "woodflooringmerbaubrickbondnatural001",
    "woodplanks028", "woodplanksworn33", "woodquarteredchiffon001", "whitemarble",
    # vbg
    "rubber", "mymetal",
    # outd
    "brickoldred001", "carpetplushdesignerrhombus001", "chainmailgoldrounded001",
    "chippedpaint015", "cliffjagged007", "drywallprepared007",
    "fabricupholsterypyramidspattern001", "groundclay006", "groundclay008",
    "grounddirtforestroots004", "grounddirtrocky006", "groundgrassgreen", "groundrocky006",
    "groundrocky014", "groundsandfootprintsleaves001", "metalsiding004",
    "metalstainlesssteelbraided001", "panelsacousticfoamtiles004", "plastersloppy",
    "rooftilesceramic001", "rooftilescopper003", "rooftilesquarry001", "rustplain030",
    "steelfloordiamond001", "tilesterrazzopalladianahonedgreen001",
)
# fmt: on
"""The authors' lists, in lower case and without the word Poliigon that most names begin with."""
_MISNAMED = {"fabricupholsterybrightanglepattern001": "fabricupholsterymidcenturypebbles001"}
_ENDINGS = (".png", "_flat.png", ".json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClevrTexConfig(StoredConfig):
    """CLEVRTex (Karazija et al. 2021, VGG Oxford): the folder `clevrtex_full`, or what holds it.

    Scene 12,345 of `full` is `12/CLEVRTEX_full_012345.png` of 240x320 pixels, with its masks
    (`_flat.png`) and its objects (`.json`). All are stored under one name, `all`, and split by
    number: of the authors' tenths the first is `test`, the second `val`, the rest `train`. Defaults
    are these parts of the 50,000 scenes of `full`; `pbg`, `vbg`, `grassbg` and `camo` have 20,000,
    so `all[4000:]`, `all[2000:4000]` and `all[:2000]`.

    Protocols differ in the crop: the benchmark and ISA cut the middle square of 192 pixels, SMM and
    BO-QSA nothing (`crop=null`). Numbers on the authors' version 2, which has other textures, can't
    be compared.
    """

    has_positions: ClassVar[bool] = True

    train: str = "all[10000:]"
    val: str = "all[5000:10000]"
    test: str = "all[:5000]"
    crop: tuple[int, int, int, int] | None = (24, 64, 192, 192)
    variant: Literal["full", "pbg", "vbg", "grassbg", "camo", "outd"] = "full"
    """Plain (`pbg`), varied (`vbg`, under objects as CLEVR's) or grassy ground, one material for
    everything (`camo`), or shapes and materials not in `full` (`outd`): these 10,000 scenes are all
    for testing, so that ranges of them are ignored."""

    def ranges(self) -> dict[str, tuple[str, slice]]:
        """See `StoredConfig.ranges`."""
        found = super().ranges()
        if self.variant == "outd":
            return {split: (name, slice(0, None)) for split, (name, _) in found.items()}
        return found

    def open(self, name: str) -> "ClevrTexSource":
        """All scenes of the variant; see `StoredConfig.open`."""
        if name != "all":
            raise ConfigError(f"CLEVRTex has no scenes {name!r}; name ranges of all: all[:5000].")
        root, folder = located(self.path), f"clevrtex_{self.variant}"
        return ClevrTexSource(
            root if root.name == folder else subfolder(root, folder), self.variant
        )


class ClevrTexSource(Source):
    """See `ClevrTexConfig`.

    Label i + 1 is the i-th object of the file. Besides the properties of `describe` with `size` and
    `shape` (and in `vbg` `color`; in other variants the stored one means nothing), objects have
    `material` int32 [m], numbered as in `MATERIALS` from 1; 0 is a name that is not in the authors'
    lists [unverified: how the names of `outd` are written in its files].
    """

    max_objects = MAX_OBJECTS

    def __init__(self, folder: Path, variant: str):
        self.where = folder
        self._variant = variant
        self._categories = {"size": SIZES, "shape": SHAPES}
        if variant == "vbg":
            self._categories["color"] = COLORS
        files = {
            f"{part}/{file}"
            for part in os.listdir(folder)
            if part.isdigit() and (folder / part).is_dir()
            for file in os.listdir(folder / part)
        }
        picture = re.compile(rf"\d+/CLEVRTEX_{variant}_(\d{{6}})\.png")
        numbers = [int(found[1]) for file in files if (found := picture.fullmatch(file))]
        self._count = max(numbers, default=0) + 1
        for index in range(self._count):
            for ending in _ENDINGS:
                if (file := self._file(index, ending)) not in files:
                    # Without it, all that follow would move into other splits.
                    raise BadFile(folder / file, "is missing")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        """See `Source` and the class."""
        picture, masks, scene = (self.where / self._file(index, ending) for ending in _ENDINGS)
        objects = _read_objects(scene)
        with scene_file(scene):
            properties = describe(objects, self._categories)
            materials = [_material(found["material"]) for found in objects]
        labels = load_labels(masks)
        if labels.max() > len(objects):
            raise BadFile(masks, f"has label {labels.max()}, {scene.name} {len(objects)} objects")
        return Example(
            image=load_picture(picture, channels=3),
            segmentation=labels,
            properties={**properties, "material": np.array(materials, np.int32)},
        )

    def object_counts(self) -> Int32[np.ndarray, "n"]:
        """See `Source`; reads every scene's JSON file."""
        files = (self.where / self._file(index, ".json") for index in range(len(self)))
        return np.array([len(_read_objects(file)) for file in files], np.int32)

    def _file(self, index: int, ending: str) -> str:
        return f"{index // 1000}/CLEVRTEX_{self._variant}_{index:06d}{ending}"


def _read_objects(path: Path) -> list[Any]:
    with scene_file(path):
        return list(json.loads(path.read_bytes())["objects"])


def _material(name: str) -> int:
    """Its number in `MATERIALS`, from 1; 0 where it is not there.

    One was published under the name of another, as the authors' errata say.
    """
    known = name.lower().removeprefix("poliigon")
    known = _MISNAMED.get(known, known)
    return MATERIALS.index(known) + 1 if known in MATERIALS else 0
