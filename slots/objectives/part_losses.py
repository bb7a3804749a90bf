"""Terms that the model's own parts bring, such as a dictionary's."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.models.base import Model
from slots.objectives.base import ObjectiveConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartLossesConfig(ObjectiveConfig):
    """Sum of what initializer and slot module report as losses of their own."""

    names: tuple[str, ...] = ()
    """Which of them; empty: all."""

    @override
    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        context: Context,
        model: Model,
        teacher: Prediction | None,
    ) -> Float[Array, "b"]:
        losses = prediction.grouping.losses
        missing = [name for name in self.names if name not in losses]
        if missing or not losses:
            what = f"no part with a loss {missing[0]!r}" if missing else "no part with a loss"
            there = f"; there are {', '.join(losses)}" if losses else ""
            raise ConfigError(f"The part_losses objective finds {what} in the model{there}.")
        chosen = [losses[name].astype(jnp.float32) for name in self.names or losses]
        return jnp.stack(chosen).sum(axis=0)
