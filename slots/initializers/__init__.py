"""Initializers: each makes the first slots."""

from slots.initializers.base import FirstSlots, Initializer, InitializerConfig
from slots.initializers.dictionary import Dictionary, DictionaryConfig
from slots.initializers.frames import FramesInitializer, FramesInitializerConfig
from slots.initializers.gaussian import Gaussian, GaussianConfig
from slots.initializers.learned import Learned, LearnedConfig
from slots.initializers.mixture import Mixture, MixtureConfig

InitializerConfig.kinds.update(
    dictionary=DictionaryConfig,
    frames=FramesInitializerConfig,
    gaussian=GaussianConfig,
    learned=LearnedConfig,
    mixture=MixtureConfig,
)

__all__ = [
    "Dictionary",
    "DictionaryConfig",
    "FirstSlots",
    "FramesInitializer",
    "FramesInitializerConfig",
    "Gaussian",
    "GaussianConfig",
    "Initializer",
    "InitializerConfig",
    "Learned",
    "LearnedConfig",
    "Mixture",
    "MixtureConfig",
]
