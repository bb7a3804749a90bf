"""Objectives: terms that return one value per example."""

from slots.objectives.base import ObjectiveConfig
from slots.objectives.classification import ClassificationConfig
from slots.objectives.component_error import ComponentErrorConfig
from slots.objectives.mask_overlap import MaskOverlapConfig
from slots.objectives.part_losses import PartLossesConfig
from slots.objectives.reconstruction import ReconstructionConfig
from slots.objectives.set_matching import SetMatchingConfig

ObjectiveConfig.kinds.update(
    classification=ClassificationConfig,
    component_error=ComponentErrorConfig,
    mask_overlap=MaskOverlapConfig,
    part_losses=PartLossesConfig,
    reconstruction=ReconstructionConfig,
    set_matching=SetMatchingConfig,
)

__all__ = [
    "ClassificationConfig",
    "ComponentErrorConfig",
    "MaskOverlapConfig",
    "ObjectiveConfig",
    "PartLossesConfig",
    "ReconstructionConfig",
    "SetMatchingConfig",
]
