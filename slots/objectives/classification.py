"""Cross-entropy of a scene's class."""

import dataclasses

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.models.base import Model
from slots.objectives.base import ObjectiveConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationConfig(ObjectiveConfig):
    """Minus the logarithm of the softmax at the true class."""

    @override
    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        context: Context,
        model: Model,
        teacher: Prediction | None,
    ) -> Float[Array, "b"]:
        logits = prediction.outputs.get("class_logits")
        if logits is None:
            raise ConfigError("The classification objective needs a model that predicts classes.")
        if batch.label is None:
            raise ConfigError("The classification objective needs data with a class per scene.")
        logits = logits.astype(jnp.float32)
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch.label)
