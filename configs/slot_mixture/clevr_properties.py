"""Slot Mixture Module: properties of CLEVR's objects; AP∞ 99.4 ± 0.2, unverified, not run here.

Command: slots train slot_mixture/clevr_properties data.path=DIR
Data: DIR is CLEVR_v1.0 (Johnson et al. 2017), whole frames at 128×128. 150,000 steps of 512 want a
GPU.
Source: Kirilenko et al., ICLR 2024, released code: one cycle of the learning rate, 1.4e-5 to 3.5e-4
and down to 1.4e-9, and of Adam's b1. Antialiasing, as Pillow's, is our choice.
"""

from slots.config import replace
from slots.data import ClevrConfig
from slots.experiment import ExperimentConfig
from slots.initializers import GaussianConfig
from slots.modules import SlotMixtureConfig
from slots.presets import load
from slots.training import OptimizerConfig


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/clevr_properties"),
        name="slot_mixture/clevr_properties",
        model__encoder__kernel_init="uniform",
        model__encoder__head__layer_norm_epsilon=1e-5,
        model__kernel_init="uniform",
        model__initializer=GaussianConfig(learned=False),  # the module draws its own
        model__module=SlotMixtureConfig(
            num_iterations=8, prior="uniform", first="picture", gradient="last"
        ),
        model__coordinates="symmetric",
        model__output="softmax",
        data=ClevrConfig(antialias=True),
        optimizer=OptimizerConfig(
            learning_rate=3.5e-4,
            warmup="cosine",
            warmup_steps=7_499,  # PyTorch's cycle turns at step 0.05 · 150,000 - 1, and ends so
            start_fraction=1 / 25,
            decay="cosine",
            decay_steps=149_999,
            final_fraction=1 / 25 / 1e4,
            b1=0.95,
            peak_b1=0.85,
            weight_decay=0.01,
        ),
        train__seed=39,
    )
