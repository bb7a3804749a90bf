"""Objectives: terms that return one value per example."""

from slots.objectives.base import ObjectiveConfig
from slots.objectives.reconstruction import ReconstructionConfig

ObjectiveConfig.kinds.update(reconstruction=ReconstructionConfig)

__all__ = ["ObjectiveConfig", "ReconstructionConfig"]
