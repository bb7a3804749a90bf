"""Slot Attention: properties of CLEVR's objects; AP∞ 94.3 ± 1.1, unverified, not run here.

Command: slots train slot_attention/clevr_properties data.path=DIR
Data: DIR is CLEVR_v1.0 (Johnson et al. 2017; TFDS's copy does as well, see docs/published.md),
whole frames at 128×128. The first 512 scenes are left out, as in the released code, and all of
`val` is scored. 150,000 steps of 512 want a GPU.
Source: Locatello et al. 2020 (arXiv 2006.15055), section 4.2 and released code.
"""

from slots.config import replace
from slots.data import ClevrConfig
from slots.experiment import ExperimentConfig
from slots.models import SetPredictionConfig
from slots.objectives import SetMatchingConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same = load("slot_attention/clevr6")
    return replace(
        same,
        name="slot_attention/clevr_properties",
        model=SetPredictionConfig(
            encoder=replace(same.model.encoder, strides=(1, 2, 2, 1)),
            initializer=same.model.initializer,
            module=same.model.module,
            num_slots=10,
            pixel_range="symmetric",
        ),
        data=ClevrConfig(train="train[512:]"),
        objectives=(SetMatchingConfig(),),
        optimizer__warmup_steps=1000,
        optimizer__decay_steps=50_000,
        train__steps=150_000,
        train__batch_size=512,
        eval__protocol="ap/clevr",
        eval__count=15_000,
        checkpoint__best_metric="ap_0.5",
    )
