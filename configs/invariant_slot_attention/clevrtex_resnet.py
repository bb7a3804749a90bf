"""ISA-TS on CLEVRTex with a ResNet-34, FG-ARI 92.9 as others quote the paper; not run here.

Command: slots train invariant_slot_attention/clevrtex_resnet data.path=DIR
Data: as for invariant_slot_attention/clevrtex.
Source: Biza et al. 2023 (arXiv 2302.04973). Tokens keep their grid, as in ISA-T's released
configuration; that of TS and TSR takes two learned features for it:
`model.module.grid_in_features=true model.encoder.head.position=coordinates
model.encoder.head.hidden=128`.
"""

from slots.config import replace
from slots.encoders import ResNetConfig, TokenHeadConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("invariant_slot_attention/clevrtex"),
        name="invariant_slot_attention/clevrtex_resnet",
        model__encoder=ResNetConfig(
            kernel_init="lecun",
            head=TokenHeadConfig(position="none", hidden=0, layer_norm_epsilon=1e-6),
        ),
    )
