"""ISA-TS on Multi-dSprites with the recipe of Objects Room, which is our choice; not run here.

Command: slots train invariant_slot_attention/multi_dsprites
Data: generated scenes, coloured sprites on grey, 64×64, 2 to 5 sprites. 500,000 steps of 64 want
a GPU. The paper has no such configuration.
"""

from slots.config import replace
from slots.data import MultiDSpritesConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/objects_room"),
        name="invariant_slot_attention/multi_dsprites",
        data=MultiDSpritesConfig(variant="colored_on_grayscale"),
        model__num_slots=6,
        eval__protocol="house/image",
        eval__count=320,
    )
