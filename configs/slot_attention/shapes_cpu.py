"""Properties of objects from slots (supervised), on generated shapes, for two CPU cores.

Command: slots train slot_attention/shapes_cpu
Set prediction as in the paper (section 4.2), compact: one slot more than there are objects at most,
and the slot module as in slot_attention/tetrominoes_cpu, with which it learns sooner.
"""

from slots.config import replace
from slots.data import ShapesConfig
from slots.encoders import TokenHeadConfig, WindowsConfig
from slots.evaluation import EvaluationConfig
from slots.experiment import ExperimentConfig
from slots.initializers import GaussianConfig
from slots.models import SetPredictionConfig
from slots.objectives import SetMatchingConfig
from slots.presets import load


def config() -> ExperimentConfig:
    same = load("slot_attention/tetrominoes_cpu")
    return replace(
        same,
        name="slot_attention/shapes_cpu",
        model=SetPredictionConfig(
            encoder=WindowsConfig(stride=6, head=TokenHeadConfig(position="fourier")),
            initializer=GaussianConfig(),
            module=same.model.module,
            num_slots=5,
            layout="shapes",
        ),
        data=ShapesConfig(),
        objectives=(SetMatchingConfig(),),
        train__steps=10_000,
        train__batch_size=32,
        optimizer__learning_rate=1e-3,
        eval=EvaluationConfig(every=2500, count=320),
        checkpoint__best_metric="ap_0.5",
    )
