"""The contract of an objective term."""

import dataclasses
from typing import Any, ClassVar

from jaxtyping import Array, Float

from slots.config import Component
from slots.models.base import Model
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Component):
    """A term of the loss; the settings object is the term."""

    kinds: ClassVar[dict[str, type[Any]]] = {}

    weight: float = 1.0
    """Factor in the sum of terms."""

    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        context: Context,
        model: Model,
        teacher: Prediction | None,
    ) -> Float[Array, "b"]:
        """The term per example, in float32, not weighted.

        Args:
            prediction: what the model made of the batch.
            batch: what it saw.
            context: step, key, whether it trains.
            model: bound to the current parameters, for terms that run a part of it again.
            teacher: what the teacher made of the batch, where there is one.
        """
        raise NotImplementedError
