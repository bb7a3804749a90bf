"""Sets of all combinations of factors, in one file of arrays: 3D Shapes and dSprites."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Shaped

from slots.config import ConfigError
from slots.data.hdf5 import KINDS, ArraySource, Rows, odd, reading
from slots.data.records import located
from slots.data.stored import Example, StoredConfig

SHAPES3D_FACTORS: Mapping[str, int] = {
    "floor_hue": 10,
    "wall_hue": 10,
    "object_hue": 10,
    "scale": 8,
    "shape": 4,
    "orientation": 15,
}
"""How many values each factor has, in the file's order. The last one varies fastest: the row of a
combination is `numpy.ravel_multi_index(combination, tuple(SHAPES3D_FACTORS.values()))`."""
DSPRITES_FACTORS: Mapping[str, int] = {
    "color": 1,
    "shape": 3,
    "scale": 6,
    "orientation": 40,
    "x": 32,
    "y": 32,
}
"""As `SHAPES3D_FACTORS`. The first and the last orientation look the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes3dConfig(StoredConfig):
    """3D Shapes (Burgess and Kim 2018, DeepMind): the file `3dshapes.h5`.

    480,000 pictures of 64x64 pixels of one object in a room, all combinations of six factors, under
    one name, `all`; no masks. Defaults are the ranges of SLATE's code (Singh et al. 2022), which
    leave out pictures 400,000 and 430,000 and the last 20,000. As the file is in the order of the
    factors, all of `val` has one floor colour, and most of `test` one that is never trained on.

    Properties of the object: float32 `floor_hue`, `wall_hue`, `object_hue`, `scale` and
    `orientation` in degrees, as stored; int32 `shape`, 1 cube, 2 cylinder, 3 sphere, 4 capsule
    [unverified: these names, and the values of the stored hues and scales].
    """

    has_positions: ClassVar[bool] = True

    train: str = "all[0:400000]"
    val: str = "all[400001:430000]"
    test: str = "all[430001:460000]"
    image_size: tuple[int, int] = (64, 64)

    def open(self, name: str) -> "ArraySource":
        """All pictures; see `StoredConfig.open`."""
        path = _only_all(located(self.path), name)
        factors = _columns(path, Rows(path, "labels").read(), SHAPES3D_FACTORS, first_shape=0)
        return ArraySource(path, Rows(path, "images"), None, factors, alone=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DspritesConfig(StoredConfig):
    """dSprites (Matthey et al. 2017, DeepMind): the `.hdf5` or the `.npz` file.

    737,280 pictures of 64x64 pixels of a white shape on black, all combinations of five factors in
    their order, under one name, `all`; each is the mask of its shape as well. There are no
    published splits: by default all is trained on. The npz file takes 3 GB of memory.

    Properties of the shape: int32 `shape`, 1 square, 2 ellipse, 3 heart; float32 `scale` from 0.5
    to 1, `orientation` in radians from 0 to 2π, and the centre, `x` and `y`, in [0, 1].
    """

    has_positions: ClassVar[bool] = True

    train: str = "all"
    val: str = ""
    image_size: tuple[int, int] = (64, 64)
    channels: int = 1

    def open(self, name: str) -> "ArraySource":
        """All pictures; see `StoredConfig.open`."""
        path = _only_all(located(self.path), name)
        images: Rows | np.ndarray
        if path.suffix == ".npz":
            # numpy would leave the file of a damaged archive open (numpy 2.4)
            with (
                reading(path),
                path.open("rb") as file,
                np.load(file, allow_pickle=False) as found,
            ):
                images, values = found["imgs"], found["latents_values"]
        else:
            images, values = Rows(path, "imgs"), Rows(path, "latents/values").read()
        factors = _columns(path, values, DSPRITES_FACTORS, first_shape=1)
        return DspritesSource(path, images, images, factors, alone=True)


class DspritesSource(ArraySource):
    """See `DspritesConfig`: pictures of 0 and 1."""

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        example = super().__getitem__(index)
        return dataclasses.replace(example, image=example.image * np.uint8(255))


def _columns(
    path: Path, values: Shaped[np.ndarray, "..."], factors: Mapping[str, int], first_shape: int
) -> dict[str, Shaped[np.ndarray, "n 1"]]:
    """The factors that vary as properties of one object, shapes counted from 1."""
    if values.shape[1:] != (len(factors),) or values.dtype.kind not in KINDS:
        raise odd(path, "factors", values, f"numbers [n, {len(factors)}]")
    columns = dict(zip(factors, np.split(values, len(factors), axis=1), strict=True))
    found = {name: columns[name].astype(np.float32) for name in factors if factors[name] > 1}
    return {**found, "shape": np.round(columns["shape"]).astype(np.int32) + 1 - first_shape}


def _only_all(path: Path, name: str) -> Path:
    if name != "all":
        raise ConfigError(f"{path} has no examples {name!r}; name ranges of all, as all[:1000].")
    return path
