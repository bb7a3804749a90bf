"""Which pictures a folder holds, which masks belong to them, and how they fall into splits."""

import dataclasses
import hashlib
from pathlib import Path

from slots.config import ConfigError
from slots.data.pictures import ENDINGS, BadFile, picture_size
from slots.data.records import located

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of split folders, and the split each one is."""


@dataclasses.dataclass(frozen=True)
class Record:
    """A picture, and its mask where its split has masks."""

    picture: Path
    mask: Path | None
    labelled: bool
    """A labelled record without a mask is a bad one."""

    def problem(self) -> BadFile | None:
        """What the headers of both files say against using them."""
        if self.labelled and self.mask is None:
            return BadFile(self.picture, "has no mask of its name in the masks folder")
        try:
            size = picture_size(self.picture)
            if self.mask is not None and (other := picture_size(self.mask)) != size:
                sizes = "{1}x{0}, its mask {3}x{2}".format(*size, *other)
                return BadFile(self.picture, f"has another size than its mask (is {sizes})")
        except BadFile as problem:
            return problem
        return None


def find_splits(path: str, held_out_fraction: float) -> dict[str, tuple[Record, ...]]:
    """The records of each split of the folder `path`, sorted by name.

    Args:
        path: the folder; `~` is understood.
        held_out_fraction: part that becomes `val` if no folder but `train` is a split.

    Raises:
        ConfigError: no such folder, or no pictures in the places looked at.
    """
    root = located(path)
    if not root.is_dir():
        raise ConfigError(f"data.path={path} is a file; name the folder it is in.")
    splits: dict[str, list[Record]] = {}
    for name, split in SPLITS.items():
        if (records := _records(root / name)) and split not in splits:
            splits[split] = records
    if not splits and (records := _records(root)):
        splits["train"] = records
    if not splits:
        inside = ", ".join(sorted(f.name + "/" for f in root.iterdir() if f.is_dir())[:8])
        raise ConfigError(
            f"data.path={path} holds no pictures; they are looked for in train/images/, train/, "
            f"images/ and the folder itself{', which has ' + inside if inside else ''}."
        )
    if set(splits) == {"train"}:
        splits = _hold_out(splits["train"], held_out_fraction)
    return {name: tuple(splits[name]) for name in ("train", "val", "test") if splits.get(name)}


def _records(folder: Path) -> list[Record]:
    """Records of `folder/images` or, if that is no folder, of the pictures right in `folder`."""
    pictures = _pictures(folder / "images") if (folder / "images").is_dir() else _pictures(folder)
    labelled = (folder / "masks").is_dir()
    masks = {mask.stem: mask for mask in _pictures(folder / "masks")}
    return [Record(p, masks.get(p.stem), labelled) for p in pictures]


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (f for f in folder.iterdir() if f.suffix.lower() in ENDINGS and f.name[0] != ".")
    return sorted(files, key=lambda f: f.name)


def _hold_out(records: list[Record], fraction: float) -> dict[str, list[Record]]:
    """The given part by rank of the names' hashes, so that every machine holds out the same."""
    count = max(1, round(len(records) * fraction)) if fraction else 0
    count = min(count, len(records) - 1)
    ranked = sorted(records, key=lambda r: hashlib.sha256(r.picture.stem.encode()).digest())
    held = set(ranked[:count])
    return {
        "train": [r for r in records if r not in held],
        "val": [r for r in records if r in held],
    }
