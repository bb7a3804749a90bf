"""SA-MESH on Tetrominoes, compact, for two CPU cores.

Command: slots train mesh/tetrominoes_cpu
All but the slot module is that of slot_attention/tetrominoes_cpu; three rounds, as published.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.modules import MESHConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes_cpu"),
        name="mesh/tetrominoes_cpu",
        model__module=MESHConfig(),
    )
