"""SA-MESH on CLEVRTex as released, without the paper's number at hand; not run here.

Command: slots train mesh/clevrtex data.path=DIR
Data: DIR holds clevrtex_full (Karazija et al. 2021): the centred 192×192 pixels at 64×64, 320
scenes to choose a checkpoint, 5,000 to test: `slots eval RUN step=best protocol=fg-ari/mesh
eval.split=test eval.count=5000`. Not antialiased, for the release prepared its files with OpenCV
(our reading). 331,250 steps of 64 want a GPU.
Source: Zhang et al., ICML 2023, released code.
"""

from slots.config import replace
from slots.data import ClevrTexConfig
from slots.experiment import ExperimentConfig
from slots.presets import load


def config() -> ExperimentConfig:
    return replace(
        load("mesh/multi_dsprites"),
        name="mesh/clevrtex",
        data=ClevrTexConfig(
            val="all[5000:5320]", image_size=(64, 64), label_size=(64, 64), antialias=False
        ),
        model__num_slots=11,
        train__steps=331_250,
    )
