"""SA-MESH: properties of CLEVR's objects; AP∞ 99.4 ± 0.1, unverified, not run here.

Command: slots train mesh/clevr_properties data.path=DIR
Data and all but the slot module are those of slot_attention/clevr_properties, which is our reading:
no code was released for this, and no recipe is at hand.
Source: Zhang et al., ICML 2023.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.modules import MESHConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/clevr_properties"),
        name="mesh/clevr_properties",
        model__module=MESHConfig(),
    )
