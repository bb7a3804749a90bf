"""ISA-TS on Tetrominoes, compact, for two CPU cores.

Command: slots train invariant_slot_attention/tetrominoes_cpu
Encoder, decoder and loss are those of slot_attention/tetrominoes_cpu, without a position code in
the tokens. A fourth slot takes the ground, whose tokens must go to somebody. Frames want a smaller
learning rate: at 1.2e-3 the loss rises again.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.initializers import FramesInitializerConfig
from slots.modules import InvariantSlotAttentionConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/tetrominoes_cpu"),
        name="invariant_slot_attention/tetrominoes_cpu",
        model__encoder__head__position="none",
        model__initializer=FramesInitializerConfig(),
        model__module=InvariantSlotAttentionConfig(
            num_iterations=5, eval_iterations=11, gradient="bilevel", temperature=0.25
        ),
        model__num_slots=4,
        optimizer__learning_rate=4e-4,
        optimizer__clip_norm=0.1,
    )
