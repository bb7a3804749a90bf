"""ISA-TS on Waymo Open with a ResNet-34 as published; needs the data, not run here.

Command: slots train invariant_slot_attention/waymo data.path=DIR
Data: DIR is what `python scripts/to_folder.py waymo DIR train FILE.tfrecord ...`, and the same with
`validation`, make of the authors' records: front camera, 128×192. Objects below 1 % of the picture
become background, the ten largest stay, and pictures without any are left out of `val`. 500,000
steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973); the tokens' grid as in clevrtex_resnet.
"""

from slots.config import replace
from slots.data import FolderConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/clevrtex_resnet"),
        name="invariant_slot_attention/waymo",
        data=FolderConfig(image_size=(128, 192), max_objects=10, min_object_pixels=245),
        eval__protocol="fg-ari/isa",
        eval__count=None,
    )
