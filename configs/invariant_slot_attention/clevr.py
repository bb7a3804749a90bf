"""ISA-TS on CLEVR with masks as published; needs the data, not run here.

Command: slots train invariant_slot_attention/clevr data.path=DIR
Data: DIR/train and DIR/val with images/ and masks/: CLEVR with masks (Kabra et al. 2019), up to 10
objects, cropped to rows 29–220 and columns 64–255. 500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.data import FolderConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/objects_room"),
        name="invariant_slot_attention/clevr",
        data=FolderConfig(path="data/clevr", image_size=(128, 128), max_objects=10),
        model__encoder__strides=(2, 2, 2, 1),
        model__decoder__strides=(2, 2, 2, 1, 1),
    )
