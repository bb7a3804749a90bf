"""Slot Attention on CLEVR6 at 64×64, compact, for two CPU cores; needs the data, not run here.

Command: slots train slot_attention/clevr6_cpu data.path=DIR
Data: as for slot_attention/clevr6.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/multi_dsprites_cpu"),
        name="slot_attention/clevr6_cpu",
        data=replace(load("slot_attention/clevr6").data, image_size=(64, 64)),
        model__num_slots=7,
    )
