"""Initializers: each makes the first slots."""

from slots.initializers.base import Initializer, InitializerConfig
from slots.initializers.frames import FramesInitializer, FramesInitializerConfig
from slots.initializers.gaussian import Gaussian, GaussianConfig
from slots.initializers.learned import Learned, LearnedConfig

InitializerConfig.kinds.update(
    frames=FramesInitializerConfig, gaussian=GaussianConfig, learned=LearnedConfig
)

__all__ = [
    "FramesInitializer",
    "FramesInitializerConfig",
    "Gaussian",
    "GaussianConfig",
    "Initializer",
    "InitializerConfig",
    "Learned",
    "LearnedConfig",
]
