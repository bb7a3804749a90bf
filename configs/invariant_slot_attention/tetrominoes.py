"""ISA-T on 512 Tetrominoes scenes as published; not run here.

Command: slots train invariant_slot_attention/tetrominoes
Data: 512 generated scenes of the published law, 35×35, 3 pieces. The paper's own are
`data=multi_object data.path=tetrominoes_train.tfrecords data.variant=tetrominoes
data.image_size=[35,35] data.train=train[100:612] data.val=train[:100]`. 20,000 steps of 64 want a
GPU.
Source: Biza et al. 2023 (arXiv 2302.04973) and released code. The other variants are one override,
`model.module.variant=ts` or `tsr`; on this set they are ours. The paper's Slot Attention is
`model.module=slot_attention model.module.epsilon_on=sum model.module.layer_norm_epsilon=1e-6
model.initializer=learned model.encoder.head.position=coordinates model.encoder.head.hidden=128`.
"""

from slots.data import TetrominoesConfig
from slots.decoders import MLPDecoderConfig
from slots.encoders import CNNConfig, TokenHeadConfig
from slots.evaluation import EvaluationConfig
from slots.experiment import ExperimentConfig
from slots.initializers import FramesInitializerConfig
from slots.models import ImageModelConfig
from slots.modules import InvariantSlotAttentionConfig
from slots.objectives import ReconstructionConfig
from slots.training import OptimizerConfig, TrainConfig


def config() -> ExperimentConfig:
    return ExperimentConfig(
        name="invariant_slot_attention/tetrominoes",
        model=ImageModelConfig(
            encoder=CNNConfig(
                final_relu=False,
                kernel_init="lecun",
                head=TokenHeadConfig(position="none", hidden=0, layer_norm_epsilon=1e-6),
            ),
            initializer=FramesInitializerConfig(),
            module=InvariantSlotAttentionConfig(variant="t"),
            decoder=MLPDecoderConfig(position="coordinates", kernel_init="lecun"),
            num_slots=4,
        ),
        data=TetrominoesConfig(train_size=512),
        objectives=(ReconstructionConfig(reduce="sum"),),
        optimizer=OptimizerConfig(
            warmup_steps=5000, decay="cosine", decay_steps=None, clip_norm=0.05
        ),
        train=TrainConfig(steps=20_000, batch_size=64, seed=42),
        eval=EvaluationConfig(every=1000, protocol="fg-ari/isa", count=100),
    )
