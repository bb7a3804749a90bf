"""Squared error between what the model drew and what it should have drawn."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.models.base import Model
from slots.objectives.base import ObjectiveConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(ObjectiveConfig):
    """Squared error in the model's own range, reduced over all axes but the first."""

    reduce: Literal["mean", "sum"] = "mean"
    """`mean` (Locatello et al. 2020) or `sum` over places and channels (Kipf et al. 2022)."""

    @override
    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        context: Context,
        model: Model,
        teacher: Prediction | None,
    ) -> Float[Array, "b"]:
        if prediction.reconstruction is None or prediction.target is None:
            raise ConfigError("The reconstruction objective needs a model that reconstructs.")
        output = prediction.reconstruction.output.astype(jnp.float32)
        error = jnp.square(output - prediction.target.astype(jnp.float32))
        error = error.reshape(len(error), -1)
        return error.mean(axis=1) if self.reduce == "mean" else error.sum(axis=1)
