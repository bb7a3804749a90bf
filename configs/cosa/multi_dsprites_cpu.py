"""CoSA with its grounded slot dictionary on Multi-dSprites, compact, for two CPU cores.

Command: slots train cosa/multi_dsprites_cpu
All but slot module and first slots is that of slot_attention/multi_dsprites_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.objectives import PartLossesConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same, own = load("slot_attention/multi_dsprites_cpu"), load("cosa/tetrominoes_cpu").model
    return replace(
        same,
        name="cosa/multi_dsprites_cpu",
        model__initializer=own.initializer,
        model__module=own.module,
        objectives=(*same.objectives, PartLossesConfig()),
    )
