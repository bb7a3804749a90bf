"""Slot Attention on nuclei in microscope pictures, 64×64, in eleven minutes on two CPU cores.

Command: slots train slot_attention/nuclei_cpu data.path=DIR
Data: DIR/train and DIR/val with images/ and masks/, as in the sample beside the project.
No background component: the slots divide dark ground and nuclei among them by place.
"""

from slots.config import replace
from slots.data import FolderConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/multi_dsprites_cpu"),
        name="slot_attention/nuclei_cpu",
        data=FolderConfig(path="../shared/data/nuclei", channels=1, flip=True),
        model__num_slots=10,
        model__decoder__hidden=(128, 128),
        train__steps=8000,
        eval__protocol="house/image",
        eval__count=None,
        eval__every=1000,
        checkpoint__every=1000,
        log__every=250,
    )
