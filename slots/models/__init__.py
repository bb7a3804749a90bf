"""Models: wiring and shape agreement only."""

from slots.models.base import Definition, Model, ModelConfig, count_parameters
from slots.models.image import ImageModel, ImageModelConfig

ModelConfig.kinds.update(image=ImageModelConfig)

__all__ = [
    "Definition",
    "ImageModel",
    "ImageModelConfig",
    "Model",
    "ModelConfig",
    "count_parameters",
]
