"""Objectives: terms that return one value per example."""

from slots.objectives.base import ObjectiveConfig
from slots.objectives.component_error import ComponentErrorConfig
from slots.objectives.reconstruction import ReconstructionConfig

ObjectiveConfig.kinds.update(
    component_error=ComponentErrorConfig, reconstruction=ReconstructionConfig
)

__all__ = ["ComponentErrorConfig", "ObjectiveConfig", "ReconstructionConfig"]
