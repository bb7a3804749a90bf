"""Initializers: each makes the first slots."""

from slots.initializers.base import Initializer, InitializerConfig
from slots.initializers.gaussian import Gaussian, GaussianConfig
from slots.initializers.learned import Learned, LearnedConfig

InitializerConfig.kinds.update(gaussian=GaussianConfig, learned=LearnedConfig)

__all__ = [
    "Gaussian",
    "GaussianConfig",
    "Initializer",
    "InitializerConfig",
    "Learned",
    "LearnedConfig",
]
