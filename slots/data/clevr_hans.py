"""CLEVR-Hans: CLEVR's scenes in classes, with features that mislead in training."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from slots.data.clevr import ClevrSource, subfolder
from slots.data.pictures import BadFile
from slots.data.records import located
from slots.data.stored import Example, StoredConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClevrHansConfig(StoredConfig):
    """CLEVR-Hans3 and CLEVR-Hans7 (Stammer et al. 2021, TU Darmstadt): the folder `CLEVR-Hans3`.

    The name `val` stands for `val/images/*.png`, in the order of their names, described by
    `val/CLEVR_HANS_scenes_val.json`; `train` and `test` likewise. Per class there are 3,000, 750
    and 750 scenes of up to 10 objects, rendered as CLEVR's and without masks. The names sort by
    class [unverified: how the publisher pads their numbers], so a range of a split is not a fair
    sample.

    `Batch.label` is the publisher's `class_id`, from 0. What a scene of each class contains, in
    brackets what is added in `train` and `val` but not in `test`:

    0. a large (gray) cube and a large cylinder;
    1. a small metal cube and a small (metal) sphere;
    2. in Hans3, and 6 in Hans7: a large blue and a small yellow sphere.

    Hans7 has besides: 2, a small cyan object (a cube) in front of two red ones; 3, at least five
    small objects, a green, a brown and a purple one among them; 4, three spheres on the left, in a
    tenth of the scenes with three metal cylinders on the right; 5, three metal cylinders on the
    right.
    """

    has_positions: ClassVar[bool] = True

    test: str = "test"

    def open(self, name: str) -> "ClevrHansSource":
        """The scenes in the folder `name`; see `StoredConfig.open`."""
        return ClevrHansSource(subfolder(located(self.path), name))


class ClevrHansSource(ClevrSource):
    """See `ClevrHansConfig`; properties are those of `describe`."""

    def __init__(self, folder: Path):
        scenes = folder / f"CLEVR_HANS_scenes_{folder.name}.json"
        super().__init__(folder / "images", scenes)
        for found in (scene.class_id for scene in self.scenes):
            if not isinstance(found, int) or found not in range(7):
                raise BadFile(scenes, f"has a scene with the class_id {found!r}, not 0 to 6")
        self.num_labels = 3 if all(scene.class_id < 3 for scene in self.scenes) else 7

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        label = self.scenes[index].class_id
        return dataclasses.replace(super().__getitem__(index), label=label)
