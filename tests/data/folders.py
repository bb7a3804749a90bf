"""Small folders of pictures, written by the tests that read them."""

from pathlib import Path

import numpy as np
from PIL import Image

from slots.data.folder import FolderConfig, FolderDataset
from slots.types import Batch


def picture(number: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A flat grey picture whose brightness says which one it is."""
    return np.full((*size, 3), 5 * number, np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def fill(where: Path, count: int, *, masks: bool = False, first: int = 0) -> Path:
    """Pictures `where/images/NN.png`, with masks whose label 1 is the left half if asked for."""
    mask = np.repeat(np.array([[1] * 4 + [0] * 4], np.uint8), 8, axis=0)
    for number in range(first, first + count):
        save(where / "images" / f"{number:02}.png", picture(number))
        if masks:
            save(where / "masks" / f"{number:02}.png", mask)
    return where


def dataset(path: Path, **changes: object) -> FolderDataset:
    values = {"path": str(path), "image_size": (8, 8), **changes}
    return FolderConfig(**values).make()  # type: ignore[arg-type]


def numbers(batch: Batch) -> list[int]:
    assert batch.image is not None
    return (np.asarray(batch.image)[:, 0, 0, 0] // 5).tolist()


def held(data: FolderDataset, split: str = "val") -> list[int]:
    return [n for batch in data.held_out(split, 3) for n in numbers(batch)]
