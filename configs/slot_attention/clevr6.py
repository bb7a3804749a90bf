"""Slot Attention on CLEVR6 as published; FG-ARI 98.8 ± 0.3 in the paper, not run here.

Command: slots train slot_attention/clevr6 data.path=DIR
Data: DIR is what `python scripts/convert.py multi_object --variant clevr_with_masks
clevr_with_masks_train.tfrecords DIR` makes of CLEVR with masks (Kabra et al. 2019), cropped to rows
29–220 and columns 64–255: the scenes of at most 6 objects among the first 70,000, and the first
320 such scenes after them (the paper's 320 may be what 320 scenes leave of that). On all scenes:
`slots eval RUN data.scene_objects=null model.num_slots=11`. 500,000 steps of 64 want a GPU.
Source: Locatello et al. 2020 (arXiv 2006.15055), section 4.1, appendix E and released code.
"""

from slots.config import replace
from slots.data import MultiObjectConfig
from slots.decoders import BroadcastConfig
from slots.encoders import CNNConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes"),
        name="slot_attention/clevr6",
        data=MultiObjectConfig(
            variant="clevr_with_masks",
            train="train[:70000]",
            val="train[70000:]",
            image_size=(128, 128),
            crop=(29, 64, 192, 192),
            antialias=False,
            scene_objects=6,
        ),
        model__encoder=CNNConfig(),
        model__decoder=BroadcastConfig(),
        model__num_slots=7,
    )
