"""SA-MESH on Multi-dSprites, compact, for two CPU cores.

Command: slots train mesh/multi_dsprites_cpu
All but slot module and first slots is that of slot_attention/multi_dsprites_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    own = load("mesh/tetrominoes_cpu").model
    return replace(
        load("slot_attention/multi_dsprites_cpu"),
        name="mesh/multi_dsprites_cpu",
        model__initializer=own.initializer,
        model__module=own.module,
    )
