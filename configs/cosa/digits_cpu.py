"""CoSA: sums of two digits from slots of a dictionary, on generated scenes, for two CPU cores.

Command: slots train cosa/digits_cpu
All but the first slots, and with them the head, is that of slot_attention/digits_cpu.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.initializers import DictionaryConfig
from slots.objectives import PartLossesConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same = load("slot_attention/digits_cpu")
    return replace(
        same,
        name="cosa/digits_cpu",
        model__initializer=DictionaryConfig(size=11),
        objectives=(*same.objectives, PartLossesConfig()),
    )
