"""Slot Attention on CLEVR6 as published; FG-ARI 98.8 ± 0.3 in the paper, not run here.

Command: slots train slot_attention/clevr6 data.path=DIR
Data: DIR/train and DIR/val with images/ and masks/: CLEVR with masks (Kabra et al. 2019), scenes of
at most 6 objects, cropped to rows 29–220 and columns 64–255. 500,000 steps of 64 want a GPU.
Source: Locatello et al. 2020 (arXiv 2006.15055), section 4.1, appendix E and released code.
"""

from slots.config import replace
from slots.data import FolderConfig
from slots.decoders import BroadcastConfig
from slots.encoders import CNNConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes"),
        name="slot_attention/clevr6",
        data=FolderConfig(path="data/clevr6", image_size=(128, 128), max_objects=6),
        model__encoder=CNNConfig(),
        model__decoder=BroadcastConfig(),
        model__num_slots=7,
    )
