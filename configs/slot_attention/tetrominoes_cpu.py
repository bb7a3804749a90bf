"""Slot Attention on Tetrominoes in about five minutes on two CPU cores: what `make demo` trains.

Command: slots train slot_attention/tetrominoes_cpu
Not in the paper: the background component, and `component_error`, which keeps the dim pixels of a
piece from going to it (docs/results/slot_attention.md).
"""

from slots.data import TetrominoesConfig
from slots.decoders import MLPDecoderConfig
from slots.encoders import TokenHeadConfig, WindowsConfig
from slots.evaluation import EvaluationConfig
from slots.experiment import ExperimentConfig
from slots.initializers import GaussianConfig
from slots.models import ImageModelConfig
from slots.modules import SlotAttentionConfig
from slots.objectives import ComponentErrorConfig, ReconstructionConfig
from slots.training import CheckpointConfig, LogConfig, OptimizerConfig, TrainConfig


def config() -> ExperimentConfig:
    return ExperimentConfig(
        name="slot_attention/tetrominoes_cpu",
        model=ImageModelConfig(
            encoder=WindowsConfig(window=11, head=TokenHeadConfig(position="fourier", hidden=128)),
            initializer=GaussianConfig(),
            module=SlotAttentionConfig(
                num_iterations=5,
                eval_iterations=11,
                gradient="bilevel",
                temperature=0.25,
                layer_norm_epsilon=1e-6,
            ),
            decoder=MLPDecoderConfig(
                hidden=(256, 192), patch_size=5, product=True, position="fourier", background=True
            ),
            num_slots=3,
        ),
        data=TetrominoesConfig(),
        objectives=(ReconstructionConfig(), ComponentErrorConfig(weight=0.1)),
        optimizer=OptimizerConfig(
            learning_rate=1.2e-3,
            warmup_steps=500,
            decay="cosine",
            decay_steps=None,
            final_fraction=0.01,
            b2=0.99,
            clip_norm=1.0,
        ),
        train=TrainConfig(steps=16_000, batch_size=16),
        eval=EvaluationConfig(every=3200, protocol="fg-ari/slot-attention"),
        checkpoint=CheckpointConfig(every=3200),
        log=LogConfig(every=500),
    )
