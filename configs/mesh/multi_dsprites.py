"""SA-MESH on Multi-dSprites as released, without the paper's number at hand; not run here.

Command: slots train mesh/multi_dsprites data.path=FILE
Data: FILE is multi_dsprites_colored_on_grayscale.tfrecords (Kabra et al. 2019; the variant follows
from five objects at most): 60,000 scenes to train on, 320 to choose a checkpoint, 2,880 to test:
`slots eval RUN step=best protocol=fg-ari/mesh eval.split=test`. The best is that of the highest
PSNR, in the release of the lowest error. 497,140 steps of 64 want a GPU.
Source: Zhang et al., ICML 2023, released code; encoder and decoder are Slot Attention's.
"""

from slots.config import replace
from slots.data import MultiObjectConfig
from slots.experiment import ExperimentConfig
from slots.modules import MESHConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("slot_attention/multi_dsprites"),
        name="mesh/multi_dsprites",
        data=MultiObjectConfig(test="train[60320:63200]", label_size=(64, 64)),
        model__encoder__kernel_init="uniform",
        model__encoder__head__layer_norm_epsilon=1e-5,
        model__decoder__kernel_init="uniform",
        model__module=MESHConfig(),
        optimizer__clip_norm=0.1,
        train__steps=497_140,
        eval__protocol="fg-ari/mesh",
        checkpoint__best_metric="psnr",
    )
