"""ISA-TS on nuclei in microscope pictures, 64×64, for two CPU cores.

Command: slots train invariant_slot_attention/nuclei_cpu data.path=DIR
Data, encoder, decoder, loss and length are those of slot_attention/nuclei_cpu; slot module and
optimizer those of invariant_slot_attention/tetrominoes_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    isa = load("invariant_slot_attention/tetrominoes_cpu")
    return replace(
        load("slot_attention/nuclei_cpu"),
        name="invariant_slot_attention/nuclei_cpu",
        model__encoder__head__position="none",
        model__initializer=isa.model.initializer,
        model__module=isa.model.module,
        optimizer=isa.optimizer,
    )
