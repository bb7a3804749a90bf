"""Slot Mixture Module: properties of generated shapes, compact, for two CPU cores.

Command: slots train slot_mixture/shapes_cpu
All but slot module and step size is that of slot_attention/shapes_cpu; they are the released ones
for set prediction, in which a transformer over the tokens decides where components start. With the
densities of slot_mixture/tetrominoes_cpu it learns later, or one slot takes all.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.modules import SlotMixtureConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/shapes_cpu"),
        name="slot_mixture/shapes_cpu",
        model__module=SlotMixtureConfig(
            num_iterations=8, prior="uniform", first="picture", gradient="last"
        ),
        optimizer__learning_rate=4e-4,
    )
