"""ISA-TS on MultiShapeNet-Easy as published; needs the data, not run here.

Command: slots train invariant_slot_attention/multi_shape_net data.path=DIR
Data: DIR/train and DIR/val with images/ and masks/ (Stelzner et al. 2021), single views, their
centred 240×240 pixels. 500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/clevr"),
        name="invariant_slot_attention/multi_shape_net",
        data__path="data/multi_shape_net",
        data__max_objects=None,
    )
