"""How much slots claim of each other's places (CoSA: Kori et al., ICLR 2024)."""

import dataclasses

from jaxtyping import Array, Float
from typing_extensions import override

from slots import metrics
from slots.config import ConfigError
from slots.models.base import Model
from slots.objectives.base import ObjectiveConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskOverlapConfig(ObjectiveConfig):
    """Mean soft Dice of each mask with every other one, binarized (`metrics.mask_overlap`).

    The release has it at a weight of 0; where it is used, its weight there grows with every epoch
    after the fifth. Here it stays.
    """

    @override
    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        context: Context,
        model: Model,
        teacher: Prediction | None,
    ) -> Float[Array, "b"]:
        drawn = prediction.reconstruction
        if drawn is None or drawn.masks.shape[1] < 2:
            raise ConfigError("The mask_overlap objective needs a model that draws two masks.")
        return metrics.mask_overlap(drawn.masks)
