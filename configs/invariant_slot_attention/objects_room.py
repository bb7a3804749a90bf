"""ISA-TS on Objects Room as published; needs the data, not run here.

Command: slots train invariant_slot_attention/objects_room data.path=DIR
Data: DIR is what `python scripts/convert.py multi_object --variant objects_room
objects_room_train.tfrecords DIR` makes of Objects Room (Kabra et al. 2019), 64×64; the first 100
scenes are held out. FG-ARI drops the sky alone, as in the released code (`data.backgrounds=1`).
500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.data import MultiObjectConfig
from slots.decoders import BroadcastConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/tetrominoes"),
        name="invariant_slot_attention/objects_room",
        data=MultiObjectConfig(
            variant="objects_room", train="train[100:]", val="train[:100]", backgrounds=1
        ),
        model__encoder__strides=(2, 2, 1, 1),
        model__module__variant="ts",
        model__decoder=BroadcastConfig(
            strides=(2, 2, 1, 1, 1),
            output_kernel_size=1,
            position="coordinates",
            kernel_init="lecun",
        ),
        model__num_slots=11,
        optimizer__warmup_steps=10_000,
        train__steps=500_000,
        eval__every=5000,
    )
