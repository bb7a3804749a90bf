"""SA-MESH: properties of objects on generated shapes, compact, for two CPU cores.

Command: slots train mesh/shapes_cpu
All but the slot module is that of slot_attention/shapes_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.modules import MESHConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/shapes_cpu"), name="mesh/shapes_cpu", model__module=MESHConfig()
    )
