"""CLEVRTex: numbering over folders, palette indices, names of materials, variants, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slots.config import ConfigError
from slots.data.clevrtex import MATERIALS, ClevrTexConfig
from slots.data.pictures import BadFile

MONKEY = {
    "index": 1,
    "shape": "monkey",
    "size": "medium",
    "material": "poliigonbricks01",
    "color": "cyan",
    "rotation": 12.5,
    "3d_coords": [1.0, -2.0, 0.6],
    "pixel_coords": [7.0, 3.0, 10.0],
}
CUBE = {**MONKEY, "index": 2, "shape": "cube", "size": "large", "color": "gray"}
LABELS = np.zeros((8, 12), np.uint8)
LABELS[2:4, 2:6] = 2
LABELS[4:6, 6:9] = 1


def write(folder: Path, index: int, objects: list, variant: str = "full") -> None:
    """A scene with alpha, masks whose palette begins with the same colour twice, and more files."""
    part = folder / f"clevrtex_{variant}" / str(index // 1000)
    part.mkdir(parents=True, exist_ok=True)
    stem = f"CLEVRTEX_{variant}_{index:06d}"
    pixels = np.full((8, 12, 4), index % 1000, np.uint8)
    pixels[..., 3] = 9
    Image.fromarray(pixels).save(part / f"{stem}.png")
    Image.fromarray(pixels).save(part / f"{stem}_depth_0001.png")
    masks = Image.fromarray(LABELS, "P")
    masks.putpalette([0, 0, 0, 0, 0, 0, 255, 0, 0] + [7] * 759)
    masks.save(part / f"{stem}_flat.png")
    text = json.dumps({"num_objects": len(objects), "image_index": index, "objects": objects})
    (part / f"{stem}.json").write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(4):
        write(tmp_path, index, [MONKEY, CUBE, CUBE][: index + 2])
    return tmp_path


def data(folder: Path, **changes: object):
    parts = {"train": "all[2:]", "val": "all[:2]", "test": ""}
    sizes = {"image_size": (8, 12), "crop": None}
    return ClevrTexConfig(path=str(folder), **{**parts, **sizes, **changes}).make()


class TestScenes:
    def test_labels_are_palette_indices(self, folder):
        found = data(folder)
        assert (found.size("train"), found.size("val"), found.max_objects) == (2, 2, 10)
        batch = next(found.held_out("val", 2))
        assert batch.image[:, 0, 0].tolist() == [[0] * 3, [1] * 3]  # no alpha
        np.testing.assert_array_equal(batch.segmentation, [LABELS, LABELS])
        assert batch.num_objects.tolist() == [2, 2]
        assert batch.visibility[1, :4].tolist() == [True, True, False, False]  # the third is hidden

    def test_properties_stand_in_the_order_of_labels(self, folder):
        found = next(data(folder).held_out("val", 1)).properties
        assert sorted(found) == [
            "material", "pixel_coords", "position", "rotation", "shape", "size",
        ]  # fmt: skip
        assert found["shape"][0, :3].tolist() == [4, 1, 0]
        assert found["size"][0, :3].tolist() == [2, 3, 0]
        np.testing.assert_allclose(found["position"][0, 0], [1, -2, 0.6])
        np.testing.assert_allclose(found["pixel_coords"][0, 0], [7, 3, 10])
        np.testing.assert_allclose(found["rotation"][0, :3], [12.5, 12.5, 0])

    def test_colours_mean_something_in_vbg_only(self, tmp_path):
        write(tmp_path, 0, [{**MONKEY, "material": "rubber"}, CUBE], "vbg")
        batch = next(data(tmp_path, variant="vbg", train="all", val="all").held_out("val", 1))
        assert batch.properties["color"][0, :3].tolist() == [8, 1, 0]
        assert batch.properties["material"][0, 0] == MATERIALS.index("rubber") + 1

    def test_the_middle_square_is_cut_by_default(self):
        top, left, height, width = ClevrTexConfig().crop
        assert (top + height, left + width) == (216, 256)
        assert (240 - height) / 2 == top
        assert (320 - width) / 2 == left

    def test_scenes_with_more_objects_are_left_out(self, folder):
        assert data(folder, train="all", scene_objects=2).size("train") == 1

    def test_the_folder_itself_or_what_holds_it(self, folder):
        assert data(folder / "clevrtex_full").size("val") == 2


class TestMaterials:
    def number(self, folder: Path, name: object) -> int:
        write(folder, 0, [{**MONKEY, "material": name}, CUBE])
        return int(next(data(folder).held_out("val", 1)).properties["material"][0, 0])

    def test_the_authors_lists(self):
        assert len(set(MATERIALS)) == len(MATERIALS) == 60 + 2 + 25

    @pytest.mark.parametrize(
        ("name", "known"),
        [
            ("poliigonbricks01", "bricks01"),
            ("PoliigonMarble13", "marble13"),
            ("whitemarble", "whitemarble"),
            ("PoliigonBrickOldRed001", "brickoldred001"),
            (
                "poliigonfabricupholsterybrightanglepattern001",
                "fabricupholsterymidcenturypebbles001",
            ),
        ],
    )
    def test_a_name(self, folder, name, known):
        assert MATERIALS[self.number(folder, name) - 1] == known

    def test_an_unknown_name(self, folder):
        assert self.number(folder, "poliigonvelvet99") == 0

    def test_no_name(self, folder):
        with pytest.raises(BadFile, match=r"CLEVRTEX_full_000000.json is not in CLEVR's layout"):
            self.number(folder, 3)


class TestSplits:
    def test_defaults_are_the_tenths_of_full(self):
        assert ClevrTexConfig().ranges() == {
            "train": ("all", slice(10_000, None)),
            "val": ("all", slice(5_000, 10_000)),
            "test": ("all", slice(0, 5_000)),
        }

    def test_numbers_go_on_in_the_next_folder(self, tmp_path):
        for index in (0, 1000, 1001):
            write(tmp_path, index, [MONKEY, CUBE])
        for index in range(1, 1000):
            for ending in (".png", "_flat.png", ".json"):
                (tmp_path / f"clevrtex_full/0/CLEVRTEX_full_{index:06d}{ending}").touch()
        found = data(tmp_path, val="all[1001:]")
        assert (found.size("train"), found.size("val")) == (1000, 1)
        assert np.asarray(next(found.held_out("val", 1)).image)[0, 0, 0, 0] == 1

    def test_outd_is_whole_in_every_split(self, tmp_path):
        for index in range(3):
            write(tmp_path, index, [{**MONKEY, "shape": "teapot"}, CUBE], "outd")
        found = data(tmp_path, variant="outd", train="", test="all[:2]")
        assert found.splits == ("val", "test")
        assert (found.size("val"), found.size("test")) == (3, 3)
        batch = next(found.held_out("test", 1))
        assert batch.properties["shape"][0, 0] == 8


class TestMistakes:
    @pytest.mark.parametrize("ending", [".png", "_flat.png", ".json"])
    def test_a_number_is_missing(self, folder, ending):
        (folder / "clevrtex_full" / "0" / f"CLEVRTEX_full_000001{ending}").unlink()
        with pytest.raises(BadFile, match=rf"0/CLEVRTEX_full_000001{ending} is missing"):
            data(folder).size("val")

    def test_nothing_there(self, tmp_path):
        (tmp_path / "clevrtex_full" / "0").mkdir(parents=True)
        with pytest.raises(BadFile, match=r"0/CLEVRTEX_full_000000.png is missing"):
            data(tmp_path).size("val")

    def test_another_variant(self, folder):
        with pytest.raises(ConfigError, match=r"has no folder 'clevrtex_camo'"):
            data(folder, variant="camo").size("val")

    def test_another_name(self, folder):
        with pytest.raises(ConfigError, match="CLEVRTex has no scenes 'val'"):
            data(folder, val="val").size("val")

    def test_a_label_without_an_object(self, folder):
        write(folder, 0, [MONKEY])
        with pytest.raises(BadFile, match=r"000000_flat.png has label 2, .*.json 1 objects"):
            list(data(folder).held_out("val", 1))

    def test_masks_in_colour(self, folder):
        path = folder / "clevrtex_full" / "0" / "CLEVRTEX_full_000000_flat.png"
        Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(path)
        with pytest.raises(BadFile, match=r"000000_flat.png is no index picture"):
            list(data(folder).held_out("val", 1))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{", "is no JSON"),
            ("{}", "lacks 'objects'"),
            ('{"objects": [[]]}', "is not in CLEVR's"),
        ],
    )
    def test_a_damaged_scene(self, folder, text, reason):
        path = folder / "clevrtex_full" / "0" / "CLEVRTEX_full_000000.json"
        path.write_text(text)
        with pytest.raises(BadFile, match=rf"000000.json {reason}"):
            list(data(folder).held_out("val", 1))
