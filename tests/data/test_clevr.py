"""CLEVR and CLEVR-Hans: attributes by name, pictures by name, classes of scenes, and mistakes."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from slots.config import ConfigError
from slots.data.clevr import ClevrConfig
from slots.data.clevr_hans import ClevrHansConfig
from slots.data.pictures import BadFile
from slots.data.shapes import ShapesConfig
from slots.properties import LAYOUTS

SPHERE = {
    "color": "purple",
    "material": "metal",
    "shape": "sphere",
    "size": "large",
    "rotation": 90.5,
    "3d_coords": [-1.5, 3.0, 0.7],
    "pixel_coords": [200.0, 100.0, 9.5],
}
CUBE = {
    "color": "gray",
    "material": "rubber",
    "shape": "cube",
    "size": "small",
    "rotation": 0.0,
    "3d_coords": [0.0, -3.0, 0.35],
    "pixel_coords": [20.0, 10.0, 8.5],
}
SIZES = {"image_size": (4, 6)}


def picture(path: Path, shade: int) -> None:
    """A frame of one shade whose alpha channel is half transparent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 12, 4), shade, np.uint8)
    pixels[..., 3] = 128
    Image.fromarray(pixels).save(path)


def scene(name: str, objects: list, **more: object) -> dict:
    relations = {"left": [[1], []], "right": [[], [0]]}
    return {"image_filename": name, "objects": objects, "relationships": relations, **more}


def write_scenes(path: Path, scenes: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {"split": "val"}, "scenes": scenes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of shades 10, 20 and 30 in `val`, whose scenes stand in another order."""
    names = [f"CLEVR_val_{number:06d}.png" for number in range(3)]
    for split in ("val", "train", "test"):
        for number in range(3):
            file = f"CLEVR_{split}_{number:06d}.png"
            picture(tmp_path / "images" / split / file, 10 * number + 10)
    scenes = [
        scene(names[2], [CUBE]),
        scene(names[0], [SPHERE, CUBE], image_index=0),
        scene(names[1], []),
    ]
    write_scenes(tmp_path / "scenes" / "CLEVR_val_scenes.json", scenes)
    trained = [
        {**one, "image_filename": one["image_filename"].replace("val", "train")} for one in scenes
    ]
    write_scenes(tmp_path / "scenes" / "CLEVR_train_scenes.json", trained)
    return tmp_path


def data(folder: Path, **changes: object):
    return ClevrConfig(path=str(folder), **{**SIZES, **changes}).make()  # type: ignore[arg-type]


class TestProperties:
    def test_belong_to_the_picture_of_their_name(self, folder):
        batch = next(data(folder).held_out("val", 3))
        assert batch.image[:, 0, 0].tolist() == [[10] * 3, [20] * 3, [30] * 3]  # no alpha
        assert batch.num_objects.tolist() == [2, 0, 1]
        np.testing.assert_allclose(
            batch.properties["position"][0, :3], [[-1.5, 3, 0.7], [0, -3, 0.35], [0, 0, 0]]
        )
        np.testing.assert_allclose(batch.properties["pixel_coords"][2, 0], [20, 10, 8.5])
        np.testing.assert_allclose(batch.properties["rotation"][0, :3], [90.5, 0, 0])
        assert batch.segmentation is None

    def test_classes_are_numbered_by_name(self, folder):
        found = next(data(folder).held_out("val", 3)).properties
        numbers = {name: found[name][0, :3].tolist() for name in LAYOUTS["clevr"].sizes}
        assert numbers == {
            "size": [2, 1, 0],
            "material": [2, 1, 0],
            "shape": [2, 1, 0],
            "color": [7, 1, 0],
        }

    def test_vectors_of_set_prediction(self, folder):
        """Locatello et al.: coordinates, size, material, shape, colour, 1 for an object."""
        batch = next(data(folder).held_out("val", 3))
        vectors = LAYOUTS["clevr"].encode(batch.properties, "unit")
        assert vectors.shape == (3, 10, 19)
        sphere = [0.25, 1, 3.7 / 6, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
        cube = [0.5, 0, 3.35 / 6, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
        np.testing.assert_allclose(vectors[0, :3], [sphere, cube, [0] * 19], atol=1e-6)

    def test_are_those_of_the_generated_set(self, folder):
        found = next(data(folder).held_out("val", 1)).properties
        generated = jax.eval_shape(ShapesConfig().make().scene, jax.random.key(0))["properties"]
        for name, values in generated.items():
            assert found[name].dtype == values.dtype
        assert found["position"].shape == (1, 10, 3)

    def test_scenes_with_more_objects_are_left_out(self, folder):
        found = data(folder, scene_objects=1)
        assert (found.size("train"), found.size("val")) == (2, 2)


class TestPictures:
    def test_there_are_only_these_in_test(self, folder):
        found = data(folder, test="test")
        batch = next(found.held_out("test", 3))
        assert batch.image[:, 0, 0, 0].tolist() == [10, 20, 30]
        assert batch.properties is batch.num_objects is None
        with pytest.raises(ConfigError, match=r"data.scene_objects needs"):
            data(folder, test="test", scene_objects=6).size("test")

    def test_crop_is_in_stored_pixels(self, folder):
        path = folder / "images" / "val" / "CLEVR_val_000000.png"
        pixels = np.zeros((8, 12, 3), np.uint8)
        pixels[2:6, 3:9] = 200
        Image.fromarray(pixels).save(path)
        batch = next(data(folder, crop=(2, 3, 4, 6)).held_out("val", 1))
        np.testing.assert_array_equal(batch.image[0], 200)


class TestMistakes:
    def test_no_such_split(self, folder):
        with pytest.raises(ConfigError, match=r"images has no folder 'vall'; did you mean 'val'"):
            data(folder, val="vall").size("val")

    def test_positions_cannot_be_mirrored(self):
        for config in (ClevrConfig, ClevrHansConfig):
            with pytest.raises(ConfigError, match=r"data\.flip"):
                config(flip=True)

    def test_a_picture_is_gone(self, folder):
        (folder / "images" / "val" / "CLEVR_val_000001.png").unlink()
        with pytest.raises(BadFile, match=r"CLEVR_val_000001.png is either missing or not in"):
            data(folder).size("val")

    def test_a_picture_too_many(self, folder):
        picture(folder / "images" / "val" / "CLEVR_val_000003.png", 0)
        with pytest.raises(BadFile, match=r"000003.png is either missing or not in .*scenes.json"):
            data(folder).size("val")

    def test_a_damaged_picture(self, folder):
        path = folder / "images" / "val" / "CLEVR_val_000001.png"
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(BadFile, match=r"CLEVR_val_000001.png is not a picture"):
            list(data(folder).held_out("val", 3))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "is no JSON file"),
            ('{"scenes": [{"image_f', "is no JSON file"),
            ("\xff", "is no JSON file"),
            ("[" * 10**6, "is no JSON file"),
            ("{}", "lacks 'scenes'"),
            ("[1]", "is not in CLEVR's layout"),
            ('{"scenes": [{"image_filename": "a.png"}]}', "lacks 'objects'"),
            ('{"scenes": [{"objects": []}]}', "is not in CLEVR's layout"),
        ],
    )
    def test_a_damaged_scenes_file(self, folder, text, reason):
        (folder / "scenes" / "CLEVR_val_scenes.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(BadFile, match=f"CLEVR_val_scenes.json {reason}"):
            data(folder).size("val")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"color": "pink"}, "there is no color 'pink'"),
            ({"shape": 2}, "there is no shape 2"),
            ({"size": ["large"]}, "is not in CLEVR's layout"),
            ({"3d_coords": [1.0, 2.0]}, "is not in CLEVR's layout"),
            ({"3d_coords": [1.0, float("nan"), 2.0]}, "3d_coords is not finite"),
            ({"rotation": "north"}, "is not in CLEVR's layout"),
        ],
    )
    def test_an_object_that_is_none(self, folder, changes, reason):
        path = folder / "scenes" / "CLEVR_val_scenes.json"
        write_scenes(path, [scene("CLEVR_val_000000.png", [CUBE, {**SPHERE, **changes}])])
        with pytest.raises(BadFile, match=f"CLEVR_val_scenes.json .*{reason}"):
            data(folder).size("val")

    def test_an_attribute_is_missing(self, folder):
        path = folder / "scenes" / "CLEVR_val_scenes.json"
        bare = {name: value for name, value in CUBE.items() if name != "material"}
        write_scenes(path, [scene("CLEVR_val_000000.png", [bare])])
        with pytest.raises(BadFile, match=r"CLEVR_val_scenes.json lacks 'material'"):
            data(folder).size("val")

    def test_eleven_objects(self, folder):
        path = folder / "scenes" / "CLEVR_val_scenes.json"
        names = [f"CLEVR_val_{number:06d}.png" for number in range(3)]
        write_scenes(path, [scene(name, [CUBE] * 11) for name in names])
        with pytest.raises(BadFile, match=r"example 0 has 11 objects, data.max_objects=10"):
            list(data(folder).held_out("val", 1))


class TestHans:
    @pytest.fixture
    def hans(self, tmp_path: Path) -> Path:
        """One scene of each of three classes per split, in the file from the last to the first."""
        for split in ("train", "val", "test"):
            scenes = []
            for number in (2, 1, 0):
                name = f"CLEVR_Hans_classid_{number}_{number:06d}.png"
                picture(tmp_path / split / "images" / name, number)
                scenes.append(scene(name, [SPHERE] * number, class_id=number))
            write_scenes(tmp_path / split / f"CLEVR_HANS_scenes_{split}.json", scenes)
        return tmp_path

    def data(self, folder: Path):
        return ClevrHansConfig(path=str(folder), **SIZES).make()  # type: ignore[arg-type]

    def test_scenes_have_classes(self, hans):
        found = self.data(hans)
        assert (found.num_classes, found.max_objects) == (3, 10)
        assert found.splits == ("train", "val", "test")
        batch = next(found.held_out("test", 3))
        assert batch.image[:, 0, 0, 0].tolist() == [0, 1, 2]
        assert batch.label.tolist() == [0, 1, 2]
        assert batch.num_objects.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(batch.properties["color"][2, :3], [7, 7, 0])

    def test_seven_classes(self, hans):
        path = hans / "val" / "CLEVR_HANS_scenes_val.json"
        path.write_text(path.read_text().replace('"class_id": 1', '"class_id": 3'))
        assert self.data(hans).num_classes == 7

    @pytest.mark.parametrize("value", ["7", "-1", '"1"', "[1]", "null", "1.5"])
    def test_no_such_class(self, hans, value):
        path = hans / "val" / "CLEVR_HANS_scenes_val.json"
        path.write_text(path.read_text().replace('"class_id": 1', f'"class_id": {value}'))
        with pytest.raises(BadFile, match=r"scenes_val.json has a scene with the class_id"):
            self.data(hans).size("val")

    def test_no_scenes(self, hans):
        (hans / "val" / "CLEVR_HANS_scenes_val.json").unlink()
        with pytest.raises(BadFile, match=r"CLEVR_HANS_scenes_val.json does not exist"):
            self.data(hans).size("val")


@pytest.mark.data
def test_real_stills(shared_data: Path, tmp_path: Path):
    (tmp_path / "images" / "test").mkdir(parents=True)
    for path in (shared_data / "clevr_stills").glob("*.png"):
        shutil.copy(path, tmp_path / "images" / "test")
    found = data(tmp_path, train="", val="test", image_size=(128, 128), crop=(29, 64, 192, 192))
    assert found.size("val") == 8
    image = np.asarray(next(found.held_out("val", 8)).image)
    assert 60 < image.mean() < 180
    assert np.abs(image.mean(axis=(0, 1, 2)) - image.mean()).max() < 15  # a grey room
