"""ISA-TS on CLEVR with masks as published; needs the data, not run here.

Command: slots train invariant_slot_attention/clevr data.path=DIR
Data: DIR as for slot_attention/clevr6, with its crop; all scenes, of up to 10 objects, of which the
first 100 are held out. Scaled without antialiasing, which is TensorFlow's default; our sources
don't say. 500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/objects_room"),
        name="invariant_slot_attention/clevr",
        data=replace(
            load("slot_attention/clevr6").data,
            train="train[100:]",
            val="train[:100]",
            scene_objects=None,
        ),
        model__encoder__strides=(2, 2, 2, 1),
        model__decoder__strides=(2, 2, 2, 1, 1),
    )
