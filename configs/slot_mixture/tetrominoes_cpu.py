"""Slot Mixture Module on Tetrominoes, compact, for two CPU cores.

Command: slots train slot_mixture/tetrominoes_cpu
Everything but slot module and first slots is that of slot_attention/tetrominoes_cpu. Densities are
those of Gaussians: with the released ones the slots stay equal here (docs/slot_mixture.md).
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.initializers import MixtureConfig
from slots.modules import SlotMixtureConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same = load("slot_attention/tetrominoes_cpu")
    return replace(
        same,
        name="slot_mixture/tetrominoes_cpu",
        model__initializer=MixtureConfig(),
        model__module=SlotMixtureConfig(
            density="normal",
            distance_scale="one",
            num_iterations=same.model.module.num_iterations,
            eval_iterations=same.model.module.eval_iterations,
            gradient="bilevel",
        ),
    )
