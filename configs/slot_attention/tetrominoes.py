"""Slot Attention on Tetrominoes as published; FG-ARI 99.5 ± 0.2 in the paper, not run here.

Command: slots train slot_attention/tetrominoes
Data: generated scenes of the published law, 35×35, 3 pieces. The paper's own are
`data=multi_object data.path=tetrominoes_train.tfrecords data.variant=tetrominoes
data.image_size=[35,35]`, the first 60,320 of the published file. 500,000 steps of 64 want a GPU.
Source: Locatello et al. 2020 (arXiv 2006.15055), section 4.1 and appendix E. Encoder width,
decoder, schedule and step count for this set are not in the released code and follow its other
discovery settings.
"""

from slots.data import TetrominoesConfig
from slots.decoders import BroadcastConfig
from slots.encoders import CNNConfig
from slots.evaluation import EvaluationConfig
from slots.experiment import ExperimentConfig
from slots.initializers import GaussianConfig
from slots.models import ImageModelConfig
from slots.modules import SlotAttentionConfig
from slots.training import OptimizerConfig, TrainConfig


def config() -> ExperimentConfig:
    return ExperimentConfig(
        name="slot_attention/tetrominoes",
        model=ImageModelConfig(
            encoder=CNNConfig(channels=(32, 32, 32, 32)),
            initializer=GaussianConfig(),
            module=SlotAttentionConfig(),
            decoder=BroadcastConfig(channels=(32, 32, 32), strides=(1, 1, 1)),
            num_slots=4,
            pixel_range="symmetric",
        ),
        data=TetrominoesConfig(),
        optimizer=OptimizerConfig(),
        train=TrainConfig(steps=500_000, batch_size=64),
        eval=EvaluationConfig(protocol="fg-ari/slot-attention"),
    )
