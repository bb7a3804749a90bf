"""Slot Mixture Module on Multi-dSprites, compact, for two CPU cores.

Command: slots train slot_mixture/multi_dsprites_cpu
All but slot module and first slots is that of slot_attention/multi_dsprites_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    own = load("slot_mixture/tetrominoes_cpu").model
    return replace(
        load("slot_attention/multi_dsprites_cpu"),
        name="slot_mixture/multi_dsprites_cpu",
        model__initializer=own.initializer,
        model__module=own.module,
    )
