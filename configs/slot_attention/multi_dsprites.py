"""Slot Attention on Multi-dSprites as published; FG-ARI 91.3 ± 0.3 in the paper, not run here.

Command: slots train slot_attention/multi_dsprites
Data: generated scenes, coloured sprites on grey, 64×64, 2 to 5 sprites. The paper's own are
`data=multi_object data.path=multi_dsprites_colored_on_grayscale.tfrecords`, the first 60,320 of the
published file. 500,000 steps of 64 want a GPU.
Source: Locatello et al. 2020 (arXiv 2006.15055), section 4.1 and appendix E; the variant of the
data follows from its 6 slots.
"""

from slots.config import replace
from slots.data import MultiDSpritesConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes"),
        name="slot_attention/multi_dsprites",
        data=MultiDSpritesConfig(variant="colored_on_grayscale"),
        model__num_slots=6,
    )
