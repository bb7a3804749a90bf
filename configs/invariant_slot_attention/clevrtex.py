"""ISA-TS on CLEVRTex with the small encoder as published; needs the data, not run here.

Command: slots train invariant_slot_attention/clevrtex data.path=DIR
Data: DIR holds clevrtex_full (Karazija et al. 2021): the centred 192×192 pixels, a tenth each for
`test` and `val` as its authors have them. Results are on `test`: `slots eval RUN eval.split=test`.
500,000 steps of 64 want a GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code; variants by `model.module.variant=`.
"""

from slots.config import replace
from slots.data import ClevrTexConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/clevr"),
        name="invariant_slot_attention/clevrtex",
        data=ClevrTexConfig(label_size=(128, 128)),
        eval__protocol="fg-ari/clevrtex",
        eval__count=5000,
    )
