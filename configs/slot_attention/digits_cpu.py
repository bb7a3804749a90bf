"""Sums of two digits from slots, on generated scenes, for two CPU cores: CoSA's base line.

Command: slots train slot_attention/digits_cpu
Compact: tokens are few and narrow, as a dictionary decomposes their similarities at every step.
The other tasks are `data.task=diff model.classes=10` and `data.task=mixed model.classes=29`.
"""

from slots.config import replace
from slots.data import DigitsConfig
from slots.encoders import TokenHeadConfig, WindowsConfig
from slots.evaluation import EvaluationConfig
from slots.experiment import ExperimentConfig
from slots.initializers import GaussianConfig
from slots.models import ReasoningConfig
from slots.modules import SlotAttentionConfig
from slots.objectives import ClassificationConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes_cpu"),
        name="slot_attention/digits_cpu",
        model=ReasoningConfig(
            encoder=WindowsConfig(
                window=17, stride=8, features=32, head=TokenHeadConfig(position="fourier")
            ),
            initializer=GaussianConfig(),
            module=SlotAttentionConfig(gradient="bilevel"),
            num_slots=3,
        ),
        data=DigitsConfig(held_out_size=1000),
        objectives=(ClassificationConfig(),),
        train__steps=10_000,
        train__batch_size=16,
        optimizer__learning_rate=1e-3,
        eval=EvaluationConfig(every=2500, count=1000),
        checkpoint__best_metric="accuracy",
    )
