"""A folder of pictures, with or without mask pictures beside them."""

import dataclasses
import functools
import logging
import math
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int32

from slots.config import ConfigError
from slots.data.base import DataConfig
from slots.data.folder_layout import find_splits
from slots.data.folder_split import Reader, Split, open_split
from slots.data.kept import CACHE_BYTES
from slots.data.records import RecordDataset

"""Sets whose small pictures and labels take less memory than this are decoded once and kept."""

_LISTED = 20
_log = logging.getLogger("slots")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderConfig(DataConfig):
    """Pictures in a folder, found in the first of these layouts that fits.

    1. `DIR/<split>/images/*`, or the pictures right in `DIR/<split>/`; a split is `train`, `val`
       (also `valid`, `validation`) or `test`.
    2. `DIR/images/*`, or the pictures right in `DIR/`.

    A folder `masks` beside `images` (or inside the folder of pictures) holds label maps with the
    pictures' names, whatever their endings: index pictures, 0 = background, 1 to n = objects. A
    split has a mask for every picture or for none. Layout 2, and layout 1 with nothing but `train`,
    hold a part out as `val`.
    """

    path: str = ""
    """DIR; must be set."""
    image_size: tuple[int, int] = (64, 64)
    """(height, width) every picture is brought to: bilinear, antialiased."""
    channels: Literal[1, 3] = 3
    """Grey is repeated to 3, colour becomes luminance for 1."""
    label_size: tuple[int, int] | None = None
    """(height, width) of the label maps: nearest neighbour. None: as the pictures."""
    crop: Literal["none", "center_square"] = "none"
    """`none` stretches to `image_size`; `center_square` cuts the largest centred square first."""
    flip: bool = False
    """Mirrors every second training picture, drawn anew in every epoch."""
    held_out_fraction: float = 0.1
    """Part that becomes `val` where no folder does; chosen by a hash of the file name, so that it
    depends neither on `seed` nor on the order of the files. At least one picture, unless 0."""
    ignore_value: int | None = 255
    """Label of pixels that count in no metric. Set null where it is an object."""
    max_objects: int | None = None
    """Largest label; a larger one is refused. None: the largest that the masks hold."""
    min_object_pixels: int | None = None
    """Objects of fewer pixels become background and the others are numbered anew, largest first;
    the first `max_objects` stay (Waymo Open in Biza et al. 2023). None: labels as they are."""
    bad_files: Literal["refuse", "skip"] = "refuse"
    """What to do about a picture or mask that is empty, damaged, missing or of the wrong size."""

    def __post_init__(self) -> None:
        """Checks what can be known without the files.

        Raises:
            ConfigError: a size, fraction or count outside its range.
        """
        for name in ("image_size", "label_size"):
            size = getattr(self, name)
            if size is not None and min(size) < 1:
                raise ConfigError(f"data.{name}={size} should be two positive numbers of pixels.")
        if not 0 <= self.held_out_fraction < 1:
            raise ConfigError(f"data.held_out_fraction={self.held_out_fraction} is not in [0, 1).")
        if self.max_objects is not None and self.max_objects < 0:
            raise ConfigError(f"data.max_objects={self.max_objects} should be 0 or more, or null.")
        if self.min_object_pixels is not None and self.min_object_pixels < 1:
            raise ConfigError(
                f"data.min_object_pixels={self.min_object_pixels} should be at least 1, or null."
            )

    def make(self) -> "FolderDataset":
        """Lists the folder and reads every file's header (about 0.2 ms each).

        Raises:
            ConfigError: no such folder, no picture in it, or a bad file while those are refused.
        """
        return FolderDataset(self)


class FolderDataset(RecordDataset):
    """See `FolderConfig`.

    The first call that needs a picture decodes the whole folder if its small pictures fit into 1
    GiB and keeps them, so that damage anywhere (in `val` too) shows before the first step. Larger
    folders are read as training goes, and damage shows when it is met; with `bad_files=skip` they
    are decoded once beforehand all the same, for the records must be known.
    """

    config: FolderConfig

    def __init__(self, config: FolderConfig):
        self.config = config
        self.flip = config.flip
        self.image_shape = (*config.image_size, config.channels)
        self._opened = functools.cache(self._open)  # shared by copies with another seed
        self._found = find_splits(config.path, config.held_out_fraction)
        every = [record for records in self._found.values() for record in records]
        self._bad = {record: problem for record in every if (problem := record.problem())}
        if self._bad and config.bad_files == "refuse":
            self._report_bad()

    @property
    def where(self) -> str:
        """The setting that says which folder."""
        return f"data.path={self.config.path}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits found."""
        return tuple(self._found)

    @functools.cached_property
    def max_objects(self) -> int:  # type: ignore[override]
        """Largest label of all splits; 0 without masks. Reads the masks unless it is a setting."""
        if not any(records[0].labelled for records in self._found.values()):
            return 0
        if self.config.max_objects is not None:
            return self.config.max_objects
        return max(split.max_label for split in self._splits.values())

    def size(self, split: str) -> int:
        """Number of usable pictures in `split`."""
        self.check(split)
        every = self.config.bad_files == "refuse"
        return len(self._found[split] if every else self._splits[split].records)

    def read(
        self,
        split: str,
        index: Int32[np.ndarray, "b"],
        places: Float64[np.ndarray, "b"] | None = None,
    ) -> dict[str, np.ndarray]:
        """See `RecordDataset.read`."""
        return self._splits[split].gather(index, self.max_objects)

    def prepare(self) -> None:
        """Opens the folder, see the class."""
        self._splits  # noqa: B018

    @property
    def _splits(self) -> dict[str, Split]:
        return self._opened()

    def _open(self) -> dict[str, Split]:
        """Every split opened: decoded and kept if they all fit, bad files left out."""
        config = self.config
        reader = Reader(
            image_size=config.image_size,
            label_size=config.label_size or config.image_size,
            channels=config.channels,
            square=config.crop == "center_square",
            ignore_value=config.ignore_value,
            max_objects=config.max_objects,
            min_object_pixels=config.min_object_pixels,
        )
        record_bytes = math.prod(self.image_shape) + 2 * math.prod(reader.label_size)
        keep = sum(map(len, self._found.values())) * record_bytes <= CACHE_BYTES
        decode = keep or config.bad_files == "skip"
        splits = {
            name: open_split(records, reader, keep=keep, decode=decode, bad=self._bad)
            for name, records in self._found.items()
        }
        if self._bad:
            self._report_bad()
        for name, split in splits.items():
            if not split.records:
                raise ConfigError(f"data.path={config.path} has no usable picture in {name!r}.")
        labelled = [split for split in splits.values() if split.labelled]
        if labelled and config.max_objects is None and not any(s.max_label for s in labelled):
            _log.warning(
                f"no mask of {config.path} holds an object; if {config.ignore_value} is one, set "
                "data.ignore_value=null"
            )
        return splits

    def _report_bad(self) -> None:
        """Refuses bad files, or says in one line which are skipped."""
        problems = [self._bad[record] for record in sorted(self._bad, key=lambda r: r.picture)]
        if self.config.bad_files == "refuse":
            first, others = problems[0], len(problems) - 1
            raise ConfigError(
                f"{first.path} {first.reason}{f', and {others} more are bad' if others else ''}; "
                "repair or remove what is bad, or set data.bad_files=skip."
            )
        listed = "; ".join(f"{p.path} {p.reason}" for p in problems[:_LISTED])
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        count = sum(map(len, self._found.values()))
        _log.warning(f"skipped {len(problems)} of {count} pictures: {listed}{more}")
