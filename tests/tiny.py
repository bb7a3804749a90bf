"""A tiny experiment shared by the tests of training, evaluation and the command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from slots.config import override
from slots.experiment import ExperimentConfig
from slots.presets import load
from slots.types import Batch

PRESET = "slot_attention/tetrominoes_cpu"

OVERRIDES = (
    "data.held_out_size=16",
    "model.slot_dim=16",
    "model.encoder.window=9",
    "model.encoder.stride=7",
    "model.encoder.hidden=16",
    "model.encoder.features=16",
    "model.encoder.head.hidden=16",
    "model.module.num_iterations=2",
    "model.module.eval_iterations=2",
    "model.module.mlp_hidden=16",
    "model.decoder.hidden=[16,16]",
    "optimizer.warmup_steps=2",
    "optimizer.decay_steps=20",
    "train.steps=6",
    "train.batch_size=8",
    "eval.protocol=house/image",
    "eval.count=16",
    "eval.batch_size=16",
    "eval.every=100",
    "checkpoint.every=2",
    "log.every=1",
    "log.tensorboard=false",
)
"""Make the demo's preset small: some thousand parameters on 5 × 5 tokens."""


def tiny(*assignments: str) -> ExperimentConfig:
    """The tiny experiment with further overrides."""
    preset = load(PRESET)
    # One assignment at a time would pass through combinations that are refused.
    return override(override(preset, ("eval.protocol=house/image",)), (*OVERRIDES, *assignments))


def arrays(tree: Any) -> list[np.ndarray]:
    """The leaves on the host."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(tree))]


def same_bits(one: Any, other: Any) -> bool:
    """Whether two trees hold bitwise the same numbers."""
    pairs = list(zip(arrays(one), arrays(other), strict=True))
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def distance(one: Any, other: Any) -> float:
    """The largest difference between two trees."""
    pairs = zip(arrays(one), arrays(other), strict=True)
    return max(float(np.abs(a.astype("f8") - b.astype("f8")).max(initial=0)) for a, b in pairs)
