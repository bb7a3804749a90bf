"""3D Shapes, dSprites and other HDF5 files: order of factors, layouts, threads, and damage."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from slots.config import ConfigError, override
from slots.data.factors import (
    DSPRITES_FACTORS,
    SHAPES3D_FACTORS,
    DspritesConfig,
    Shapes3dConfig,
)
from slots.data.hdf5 import Hdf5Config, Rows
from slots.data.pictures import BadFile


def numbered(count: int, *shape: int) -> np.ndarray:
    """Pictures of which each says its number, in two bytes."""
    pictures = np.zeros((count, 64, 64, *shape), np.uint8)
    pictures[:, 0, 0] = (np.arange(count) % 256).reshape(-1, *[1] * len(shape))
    pictures[:, 0, 1] = (np.arange(count) // 256).reshape(-1, *[1] * len(shape))
    return pictures


@pytest.fixture(scope="module")
def shapes3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 480 pictures of the published file: all scales, shapes and orientations."""
    path = tmp_path_factory.mktemp("shapes3d") / "3dshapes.h5"
    values = [[0.0], [0.0], [0.0], np.linspace(0.75, 1.25, 8), range(4), np.linspace(-30, 30, 15)]
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=numbered(480, 3), compression="gzip")
        file["labels"] = np.array(list(itertools.product(*values)), np.float64)
    return path


def sprites() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, classes and values of a thinned-out lattice, in the published order."""
    classes = np.array(list(itertools.product([0], range(3), [0, 5], [0, 39], [0, 31], [0, 31])))
    pictures = np.zeros((len(classes), 64, 64), np.uint8)
    for picture, (_, _, _, _, x, y) in zip(pictures, classes, strict=True):
        picture[16 + y : 18 + y, 16 + x : 19 + x] = 1
    values = np.array([1, 1, 0.1, 2 * np.pi / 39, 1 / 31, 1 / 31]) * classes
    return pictures, classes, values + np.array([1, 1, 0.5, 0, 0, 0])


@pytest.fixture(params=["npz", "hdf5"])
def dsprites(request, tmp_path: Path) -> Path:
    pictures, classes, values = sprites()
    path = tmp_path / f"dsprites_ndarray_co1sh3sc6or40x32y32_64x64.{request.param}"
    if request.param == "npz":
        metadata = np.array({"author": "anyone"}, dtype=object)  # pickled: must stay untouched
        np.savez(path, imgs=pictures, latents_classes=classes, latents_values=values,
                 metadata=metadata)  # fmt: skip
    else:
        with h5py.File(path, "w") as file:
            file["imgs"], file["latents/classes"], file["latents/values"] = (
                pictures,
                classes,
                values,
            )
    return path


class TestFactors:
    def test_rows_are_all_combinations(self):
        assert np.prod(list(SHAPES3D_FACTORS.values())) == 480_000
        assert np.prod(list(DSPRITES_FACTORS.values())) == 737_280

    def test_row_of_a_combination(self):
        f, w, o, s, h, r = combination = (7, 1, 9, 6, 2, 14)
        row = ((((f * 10 + w) * 10 + o) * 8 + s) * 4 + h) * 15 + r
        assert np.ravel_multi_index(combination, tuple(SHAPES3D_FACTORS.values())) == row
        _, s, k, o, x, y = combination = (0, 2, 5, 39, 30, 1)
        row = (((s * 6 + k) * 40 + o) * 32 + x) * 32 + y
        assert np.ravel_multi_index(combination, tuple(DSPRITES_FACTORS.values())) == row


class TestShapes3d:
    def test_pictures_have_their_factors(self, shapes3d):
        found = Shapes3dConfig(path=str(shapes3d), train="all", val="all", test="").make()
        assert (found.max_objects, found.size("val")) == (1, 480)
        batch = next(found.held_out("val", 480))
        scale, shape, orientation = 5, 3, 11
        row = (scale * 4 + shape) * 15 + orientation
        assert batch.image[row, 0, :2, 0].tolist() == [row % 256, row // 256]
        assert batch.properties["shape"][row].tolist() == [4]
        assert batch.properties["shape"].dtype == np.int32
        np.testing.assert_allclose(batch.properties["scale"][row], [0.75 + 5 * 0.5 / 7], rtol=1e-6)
        np.testing.assert_allclose(
            batch.properties["orientation"][row], [-30 + 11 * 60 / 14], rtol=1e-6
        )
        assert sorted(batch.properties) == sorted(SHAPES3D_FACTORS)
        assert batch.segmentation is None
        assert batch.num_objects.tolist() == [1] * 480

    def test_defaults_are_slates_ranges(self, shapes3d):
        config = Shapes3dConfig(path=str(shapes3d))
        sizes = {split: (part.start, part.stop) for split, (_, part) in config.ranges().items()}
        assert sizes == {
            "train": (0, 400_000),
            "val": (400_001, 430_000),
            "test": (430_001, 460_000),
        }
        with pytest.raises(ConfigError, match=r"3dshapes.h5 holds 480 examples of 'all'"):
            config.make().size("train")

    def test_other_columns(self, tmp_path):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"], file["labels"] = numbered(2, 3), np.zeros((2, 5))
        with pytest.raises(BadFile, match=r"x.h5 holds factors as float64 \[2, 5\], not as"):
            Shapes3dConfig(path=str(tmp_path / "x.h5")).make().size("train")

    def test_another_name(self, shapes3d):
        with pytest.raises(ConfigError, match=r"3dshapes.h5 has no examples 'train'"):
            Shapes3dConfig(path=str(shapes3d), train="train").make().size("train")


class TestDsprites:
    def test_pictures_are_masks_and_have_their_factors(self, dsprites):
        found = DspritesConfig(path=str(dsprites), val="all").make()
        assert (found.image_shape, found.max_objects) == ((64, 64, 1), 1)
        batch = next(found.held_out("val", 48))
        row = int(np.ravel_multi_index((2, 1, 0, 1, 0), (3, 2, 2, 2, 2)))
        expected = np.zeros((64, 64), np.int32)
        expected[16:18, 47:50] = 1  # x to the right, y down
        np.testing.assert_array_equal(batch.segmentation[row], expected)
        np.testing.assert_array_equal(batch.image[row, ..., 0], 255 * expected)
        properties = {name: values[row].item() for name, values in batch.properties.items()}
        assert properties == {"shape": 3, "scale": 1, "orientation": 0, "x": 1, "y": 0}
        assert batch.properties["shape"].dtype == np.int32
        last = batch.properties["orientation"][-1].item()
        assert last == pytest.approx(2 * np.pi)

    def test_damage(self, dsprites):
        content = dsprites.read_bytes()
        for cut in (0, 10, len(content) // 2, len(content) - 1):
            dsprites.write_bytes(content[:cut])
            with pytest.raises(BadFile, match=rf"{dsprites.name} cannot be read"):
                DspritesConfig(path=str(dsprites)).make().size("train")

    def test_nothing_is_unpickled(self, tmp_path):
        pictures, _, values = sprites()
        path = tmp_path / "x.npz"
        np.savez(path, imgs=pictures.astype(object), latents_values=values)
        with pytest.raises(BadFile, match=r"x.npz cannot be read \(Object arrays cannot be loaded"):
            DspritesConfig(path=str(path)).make().size("train")

    def test_no_pictures(self, tmp_path):
        np.savez(tmp_path / "x.npz", latents_values=np.zeros((3, 6)))
        with pytest.raises(BadFile, match=r"x.npz cannot be read .*imgs"):
            DspritesConfig(path=str(tmp_path / "x.npz")).make().size("train")


LABELS = np.zeros((3, 64, 64), np.uint8)
LABELS[1, 8:16, 8:16] = 1
LABELS[2, 8:16, 8:16] = 2
COLORS = np.arange(18, dtype=np.float64).reshape(3, 2, 3)


class TestAnyFile:
    def write(self, path: Path, group: str = "", **changes: object) -> Path:
        arrays = {"rgb": numbered(3, 3), "masks": LABELS, "factors/color": COLORS, **changes}
        with h5py.File(path, "a") as file:
            for name, array in arrays.items():
                file[f"{group}/{name}"] = array
        return path

    def data(self, path: Path, **changes: object):
        names = {"image": "rgb", "segmentation": "masks", "properties": ("color=factors/color",)}
        sizes = {"image_size": (64, 64), "train": "all", "val": "all"}
        return Hdf5Config(path=str(path), **{**names, **sizes, **changes}).make()  # type: ignore[arg-type]

    def test_datasets_of_any_name(self, tmp_path):
        found = self.data(self.write(tmp_path / "x.h5"))
        assert found.max_objects == 2
        batch = next(found.held_out("val", 3))
        assert batch.image[:, 0, 0, 0].tolist() == [0, 1, 2]
        np.testing.assert_array_equal(batch.segmentation, LABELS)
        np.testing.assert_array_equal(batch.properties["color"], COLORS)
        assert (batch.segmentation.dtype, batch.properties["color"].dtype) == (np.int32, np.float32)
        assert batch.visibility.tolist() == [[False, False], [True, False], [False, True]]

    def test_an_axis_more(self, tmp_path):
        path = self.write(tmp_path / "x.h5", rgb=numbered(3, 1), masks=LABELS[..., None])
        batch = next(self.data(path, properties=(), channels=1).held_out("val", 3))
        assert batch.image.shape == (3, 64, 64, 1)
        np.testing.assert_array_equal(batch.segmentation, LABELS)
        assert batch.properties is None

    def test_pictures_alone(self, tmp_path):
        found = self.data(self.write(tmp_path / "x.h5"), segmentation="", properties=())
        assert found.max_objects == 0
        assert next(found.held_out("val", 3)).segmentation is None

    def test_names_are_groups_or_files(self, tmp_path):
        for name, shade in (("one", 50), ("two", 60)):
            pictures = np.full((3, 64, 64, 3), shade, np.uint8)
            self.write(tmp_path / "both.h5", name, rgb=pictures)
            (tmp_path / "files").mkdir(exist_ok=True)
            self.write(tmp_path / "files" / f"{name}.hdf5", rgb=pictures)
        for path in ("both.h5", "files"):
            found = self.data(tmp_path / path, train="one", val="two")
            assert np.asarray(next(found.held_out("val", 1)).image).max() == 60

    def test_properties_are_set_on_the_command_line(self):
        config = override(Hdf5Config(), ["properties=[color=factors/color,z=depth]"])
        assert config.properties == ("color=factors/color", "z=depth")

    @pytest.mark.parametrize("text", ["color", "=factors/color", "color=", "a b=c"])
    def test_a_property_without_a_name(self, text):
        with pytest.raises(ConfigError, match=r"data\.properties: .* should be as"):
            Hdf5Config(properties=(text,))

    def test_properties_cannot_be_mirrored(self):
        with pytest.raises(ConfigError, match=r"data\.flip mirrors"):
            Hdf5Config(properties=("x=x",), flip=True)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"rgb": np.zeros((3, 8, 8, 3))}, r"pictures as float64 \[3, 8, 8, 3\]"),
            ({"rgb": np.zeros((3, 3, 8, 8), np.uint8)}, r"pictures as uint8 \[3, 3, 8, 8\]"),
            ({"rgb": np.zeros(3, np.uint8)}, r"pictures as uint8 \[3\]"),
            ({"masks": np.zeros((3, 8, 8, 5), bool)}, r"labels as bool \[3, 8, 8, 5\]"),
            ({"masks": LABELS.astype(float)}, "labels as float64"),
            ({"masks": LABELS[:2]}, r"labels as uint8 \[2, 64, 64\], not as whole numbers \[3,"),
            ({"factors/color": COLORS[:2]}, r"the property 'color' as float64 \[2, 2, 3\]"),
            ({"factors/color": np.array(["a", "b", "c"], "S1")}, r"the property 'color' as \|S1"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, changes, reason):
        with pytest.raises(BadFile, match=f"x.h5 holds {reason}"):
            self.data(self.write(tmp_path / "x.h5", **changes)).size("val")

    @pytest.mark.parametrize("name", ["image", "factors", "rgb/x", ""])
    def test_no_such_dataset(self, tmp_path, name):
        with pytest.raises(BadFile, match=rf"no dataset '{name}'; .* holds factors, masks, rgb"):
            self.data(self.write(tmp_path / "x.h5"), image=name).size("val")

    def test_no_such_file(self, tmp_path):
        self.write(tmp_path / "train.h5")
        with pytest.raises(ConfigError, match=r"has no file trian.h5; did you mean 'train'"):
            self.data(tmp_path, train="trian").size("train")

    def test_no_h5py(self, tmp_path, monkeypatch):
        path = self.write(tmp_path / "x.h5")
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(ConfigError, match=r"x.h5 needs h5py: pip install 'slots\[hdf5\]'"):
            self.data(path).size("val")

    def test_damage_inside(self, tmp_path):
        path = tmp_path / "x.h5"
        noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=noise, chunks=(1, 64, 64, 3), compression="gzip")
        content = bytearray(path.read_bytes())
        content[-9000:-3000] = bytes(6000)
        path.write_bytes(content)
        with pytest.raises(BadFile, match=r"x.h5 cannot be read"):
            list(self.data(path, image="image", segmentation="", properties=()).held_out("val", 3))


class TestRows:
    @pytest.mark.parametrize("chunks", [None, (1, 64, 64, 3), (240, 8, 8, 1)])
    def test_threads_read_what_is_there(self, tmp_path, chunks):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("images", data=numbered(480, 3), chunks=chunks)
        rows = Rows(tmp_path / "x.h5", "images")
        order = np.random.default_rng(0).permutation(480).tolist()
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda n: rows[n][0, :2, 0].tolist(), order))
        assert found == [[n % 256, n // 256] for n in order]

    @pytest.mark.parametrize(
        ("chunks", "in_memory"),
        [
            (None, False),
            ((1, 64, 64, 3), False),
            ((64, 64, 64, 3), False),
            ((1, 32, 32, 3), False),
            ((65, 64, 64, 3), True),
            ((80, 8, 8, 1), True),
        ],
    )
    def test_scattered_rows_are_read_once_into_memory(self, tmp_path, chunks, in_memory):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("images", data=numbered(80, 3), chunks=chunks)
        rows = Rows(tmp_path / "x.h5", "images")
        assert not isinstance(rows._data, np.ndarray)  # opening is quick
        rows[3]
        assert isinstance(rows._data, np.ndarray) == in_memory
