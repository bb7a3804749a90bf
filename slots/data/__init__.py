"""Data sets: generated scenes and folders of pictures."""

from slots.data.base import DataConfig, Dataset
from slots.data.folder import FolderConfig
from slots.data.multi_dsprites import MultiDSpritesConfig
from slots.data.tetrominoes import TetrominoesConfig

DataConfig.kinds.update(
    folder=FolderConfig, multi_dsprites=MultiDSpritesConfig, tetrominoes=TetrominoesConfig
)

__all__ = ["DataConfig", "Dataset", "FolderConfig", "MultiDSpritesConfig", "TetrominoesConfig"]
