"""CoSA on Tetrominoes at 32×32 as released, without the paper's number at hand; not run here.

Command: slots train cosa/tetrominoes data.path=DIR
Data: DIR is what `python scripts/convert.py multi_object --variant tetrominoes
tetrominoes_train.tfrecords DIR` makes of Tetrominoes (Kabra et al. 2019); splits as in cosa/clevr.
Open: how long it trains; here as long as on CLEVR.
Source: Kori et al., ICLR 2024, released code. Its kernels of 3 with a padding of 2 make 8×8 tokens
and draw 48×48 pixels, cut to 32×32; here strides make 8×8 and 32×32.
"""

from slots.config import replace
from slots.data import MultiObjectConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("cosa/clevr"),
        name="cosa/tetrominoes",
        model__encoder__kernel_size=3,
        model__encoder__strides=(2, 2, 1, 1),
        model__initializer__size=32,
        model__decoder__kernel_size=3,
        model__decoder__strides=(1, 2, 2, 1, 1),
        model__num_slots=5,
        data=MultiObjectConfig(
            variant="tetrominoes",
            train="train[:700000]",
            val="train[700000:900000]",
            test="train[900000:]",
            image_size=(32, 32),
        ),
    )
