"""CoSA on Objects Room at 32×32 as released, without the paper's number at hand; not run here.

Command: slots train cosa/objects_room data.path=DIR
Data: DIR as for invariant_slot_attention/objects_room. All else is that of cosa/tetrominoes.
Source: Kori et al., ICLR 2024, released code.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("cosa/tetrominoes"),
        name="cosa/objects_room",
        data__variant="objects_room",
        model__num_slots=6,
    )
