"""CoSA with its grounded slot dictionary on Tetrominoes, compact, for two CPU cores.

Command: slots train cosa/tetrominoes_cpu
Everything but the first slots is that of slot_attention/tetrominoes_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.initializers import DictionaryConfig
from slots.objectives import PartLossesConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same = load("slot_attention/tetrominoes_cpu")
    return replace(
        same,
        name="cosa/tetrominoes_cpu",
        model__initializer=DictionaryConfig(size=32),
        model__module__gradient="bilevel",
        objectives=(*same.objectives, PartLossesConfig()),
    )
