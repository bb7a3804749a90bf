"""ISA-TS on CLEVRTex with the small encoder as published; needs the data, not run here.

Command: slots train invariant_slot_attention/clevrtex data.path=DIR
Data: DIR/train and DIR/val with images/ and masks/: CLEVRTex (Karazija et al. 2021), the centred
192×192 pixels (rows 24–215, columns 64–255). 500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/clevr"),
        name="invariant_slot_attention/clevrtex",
        data__path="data/clevrtex",
    )
