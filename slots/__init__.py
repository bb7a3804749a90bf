"""Object-centric learning in JAX: slot modules that plug in, one training loop, sound metrics."""

from slots import metrics, modules, visualize
from slots.config import Component, ConfigError
from slots.experiment import ExperimentConfig, build
from slots.runs import evaluate, restore, train
from slots.types import Batch, Grouping, Prediction, Reconstruction, Slots, Tokens, TrainState

__all__ = [
    "Batch",
    "Component",
    "ConfigError",
    "ExperimentConfig",
    "Grouping",
    "Prediction",
    "Reconstruction",
    "Slots",
    "Tokens",
    "TrainState",
    "build",
    "evaluate",
    "metrics",
    "modules",
    "restore",
    "train",
    "visualize",
]
