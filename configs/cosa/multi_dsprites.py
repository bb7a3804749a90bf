"""CoSA on Multi-dSprites at 32×32 as released, without a number at hand; not run here.

Command: slots train cosa/multi_dsprites data.path=DIR
Data: DIR is what `python scripts/convert.py multi_object --variant
multi_dsprites_colored_on_grayscale multi_dsprites_colored_on_grayscale.tfrecords DIR` makes; which
variant it was is open. All else is that of cosa/tetrominoes, with five entries as the release.
Source: Kori et al., ICLR 2024, released code.
"""

from slots.config import replace
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("cosa/tetrominoes"),
        name="cosa/multi_dsprites",
        data__variant="multi_dsprites_colored_on_grayscale",
        model__initializer__size=5,
    )
