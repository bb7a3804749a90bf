"""ISA-TS on MultiShapeNet-Easy as published; needs the data, not run here.

Command: slots train invariant_slot_attention/multi_shape_net data.path=DIR
Data: DIR is what `python scripts/to_folder.py sunds DIR train msn_easy/VERSION --crop 240`, and the
same with `validation`, make of the set (Stelzner et al. 2021, rendered anew): single views, their
centred 240×240 pixels. 500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.data import FolderConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/clevr"),
        name="invariant_slot_attention/multi_shape_net",
        data=FolderConfig(image_size=(128, 128)),
        eval__count=None,
    )
