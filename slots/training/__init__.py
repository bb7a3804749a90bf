"""Training: state, step, mesh, optimizer, loop, checkpoints, logs."""

from slots.training.checkpoint import CheckpointConfig, Checkpoints, RunError
from slots.training.log import LogConfig, read_records
from slots.training.loop import Collapsed, Interrupted, fit, use_compilation_cache
from slots.training.mesh import MeshConfig
from slots.training.optim import OptimizerConfig, ParamRule
from slots.training.step import TrainStep, init_state
from slots.training.trainer import TrainConfig, Trainer

__all__ = [
    "CheckpointConfig",
    "Checkpoints",
    "Collapsed",
    "Interrupted",
    "LogConfig",
    "MeshConfig",
    "OptimizerConfig",
    "ParamRule",
    "RunError",
    "TrainConfig",
    "TrainStep",
    "Trainer",
    "fit",
    "init_state",
    "read_records",
    "use_compilation_cache",
]
