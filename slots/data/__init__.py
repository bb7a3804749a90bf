"""Data sets: generated scenes and folders of pictures."""

from slots.data.base import DataConfig, Dataset
from slots.data.digits import DigitsConfig
from slots.data.folder import FolderConfig
from slots.data.multi_dsprites import MultiDSpritesConfig
from slots.data.room import RoomConfig
from slots.data.shapes import ShapesConfig
from slots.data.tetrominoes import TetrominoesConfig
from slots.data.textured import TexturedConfig

DataConfig.kinds.update(
    digits=DigitsConfig,
    folder=FolderConfig,
    multi_dsprites=MultiDSpritesConfig,
    room=RoomConfig,
    shapes=ShapesConfig,
    tetrominoes=TetrominoesConfig,
    textured=TexturedConfig,
)

__all__ = [
    "DataConfig",
    "Dataset",
    "DigitsConfig",
    "FolderConfig",
    "MultiDSpritesConfig",
    "RoomConfig",
    "ShapesConfig",
    "TetrominoesConfig",
    "TexturedConfig",
]
