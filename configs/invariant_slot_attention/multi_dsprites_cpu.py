"""ISA-TS on Multi-dSprites, compact, for two CPU cores.

Command: slots train invariant_slot_attention/multi_dsprites_cpu
Data, encoder, decoder and loss are those of slot_attention/multi_dsprites_cpu; slot module and
optimizer those of invariant_slot_attention/tetrominoes_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same = load("slot_attention/multi_dsprites_cpu")
    return replace(
        load("invariant_slot_attention/tetrominoes_cpu"),
        name="invariant_slot_attention/multi_dsprites_cpu",
        data=same.data,
        objectives=same.objectives,
        model__encoder__window=same.model.encoder.window,
        model__decoder=same.model.decoder,
        model__num_slots=same.model.num_slots,
    )
