"""Slot Mixture Module: properties of generated shapes, compact, for two CPU cores.

Command: slots train slot_mixture/shapes_cpu
All but slot module and first slots is that of slot_attention/shapes_cpu; densities are those of
Gaussians, as in slot_mixture/tetrominoes_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.initializers import MixtureConfig
from slots.modules import SlotMixtureConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/shapes_cpu"),
        name="slot_mixture/shapes_cpu",
        model__initializer=MixtureConfig(),
        model__module=SlotMixtureConfig(density="normal", distance_scale="one"),
    )
