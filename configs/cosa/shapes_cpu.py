"""CoSA: properties of objects on generated shapes, compact, for two CPU cores.

Command: slots train cosa/shapes_cpu
All but the first slots is that of slot_attention/shapes_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.objectives import PartLossesConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same, own = load("slot_attention/shapes_cpu"), load("cosa/tetrominoes_cpu").model
    return replace(
        same,
        name="cosa/shapes_cpu",
        model__initializer=own.initializer,
        model__module=own.module,
        objectives=(*same.objectives, PartLossesConfig()),
    )
