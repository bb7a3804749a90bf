"""Slot Attention on Multi-dSprites, compact, for two CPU cores.

Command: slots train slot_attention/multi_dsprites_cpu
The other compact presets at 64×64 start from this one.
"""

from slots.config import replace
from slots.data import MultiDSpritesConfig
from slots.experiment import ExperimentConfig
from slots.objectives import ReconstructionConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes_cpu"),
        name="slot_attention/multi_dsprites_cpu",
        data=MultiDSpritesConfig(variant="colored_on_grayscale"),
        objectives=(ReconstructionConfig(),),
        model__encoder__window=13,
        model__num_slots=6,
        model__decoder__patch_size=8,
        model__decoder__background=False,
    )
