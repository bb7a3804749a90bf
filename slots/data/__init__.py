"""Data sets: generated scenes, folders of pictures, and published sets in their own formats."""

from slots.data.base import DataConfig, Dataset
from slots.data.clevr import ClevrConfig
from slots.data.clevr_hans import ClevrHansConfig
from slots.data.clevrtex import ClevrTexConfig
from slots.data.coco import CocoConfig
from slots.data.digits import DigitsConfig
from slots.data.factors import DspritesConfig, Shapes3dConfig
from slots.data.folder import FolderConfig
from slots.data.hdf5 import Hdf5Config
from slots.data.multi_dsprites import MultiDSpritesConfig
from slots.data.multi_object import MultiObjectConfig
from slots.data.room import RoomConfig
from slots.data.shapes import ShapesConfig
from slots.data.shapestacks import ShapeStacksConfig
from slots.data.tetrominoes import TetrominoesConfig
from slots.data.textured import TexturedConfig
from slots.data.tfds import TfdsConfig
from slots.data.voc import VocConfig

DataConfig.kinds.update(
    clevr=ClevrConfig,
    clevr_hans=ClevrHansConfig,
    clevrtex=ClevrTexConfig,
    coco=CocoConfig,
    digits=DigitsConfig,
    dsprites=DspritesConfig,
    folder=FolderConfig,
    hdf5=Hdf5Config,
    multi_dsprites=MultiDSpritesConfig,
    multi_object=MultiObjectConfig,
    room=RoomConfig,
    shapes=ShapesConfig,
    shapes3d=Shapes3dConfig,
    shapestacks=ShapeStacksConfig,
    tetrominoes=TetrominoesConfig,
    textured=TexturedConfig,
    tfds=TfdsConfig,
    voc=VocConfig,
)

__all__ = [
    "ClevrConfig",
    "ClevrHansConfig",
    "ClevrTexConfig",
    "CocoConfig",
    "DataConfig",
    "Dataset",
    "DigitsConfig",
    "DspritesConfig",
    "FolderConfig",
    "Hdf5Config",
    "MultiDSpritesConfig",
    "MultiObjectConfig",
    "RoomConfig",
    "ShapeStacksConfig",
    "Shapes3dConfig",
    "ShapesConfig",
    "TetrominoesConfig",
    "TexturedConfig",
    "TfdsConfig",
    "VocConfig",
]
