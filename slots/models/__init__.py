"""Models: wiring and shape agreement only."""

from slots.models.base import Definition, Model, ModelConfig, count_parameters
from slots.models.compose import compose, dictionary, seen_codes
from slots.models.image import ImageModel, ImageModelConfig
from slots.models.reasoning import Reasoning, ReasoningConfig
from slots.models.set_prediction import SetPrediction, SetPredictionConfig

ModelConfig.kinds.update(
    image=ImageModelConfig, reasoning=ReasoningConfig, set_prediction=SetPredictionConfig
)

__all__ = [
    "Definition",
    "ImageModel",
    "ImageModelConfig",
    "Model",
    "ModelConfig",
    "Reasoning",
    "ReasoningConfig",
    "SetPrediction",
    "SetPredictionConfig",
    "compose",
    "count_parameters",
    "dictionary",
    "seen_codes",
]
