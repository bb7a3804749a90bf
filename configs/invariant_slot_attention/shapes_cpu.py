"""ISA-TS: properties of objects on generated shapes, compact, for two CPU cores.

Command: slots train invariant_slot_attention/shapes_cpu
Data and budget are those of slot_attention/shapes_cpu, the optimizer that of
invariant_slot_attention/tetrominoes_cpu; the head reads each slot's frame beside its vector.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    own = load("invariant_slot_attention/tetrominoes_cpu")
    return replace(
        load("slot_attention/shapes_cpu"),
        name="invariant_slot_attention/shapes_cpu",
        model__encoder__head__position="none",
        model__initializer=own.model.initializer,
        model__module=own.model.module,
        optimizer=own.optimizer,
    )
