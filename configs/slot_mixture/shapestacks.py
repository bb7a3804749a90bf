"""Slot Mixture Module on ShapeStacks as released, without a number at hand; not run here.

Command: slots train slot_mixture/shapestacks data.path=DIR
Data: DIR is ShapeStacks (Groth et al. 2018), the middle 196×196 pixels at 128×128, in the published
lists. All else is that of slot_mixture/clevrtex; its 8 slots are unverified.
Source: Kirilenko et al., ICLR 2024, and the settings of its released code, which does not run.
"""

from slots.config import replace
from slots.data import ShapeStacksConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_mixture/clevrtex"),
        name="slot_mixture/shapestacks",
        model__num_slots=8,
        data=ShapeStacksConfig(),
        eval__protocol="house/image",
        eval__count=320,
    )
