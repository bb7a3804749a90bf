"""Loss between sets: of the cheapest one-to-one assignment (Locatello et al. 2020, §4.2)."""

import dataclasses
from typing import Literal

from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.models.base import Model
from slots.nn.assignment import matched_cost, pair_costs
from slots.objectives.base import ObjectiveConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetMatchingConfig(ObjectiveConfig):
    """Sum over matched pairs of the mean difference of their numbers.

    Empty rows of the target take part, which is how "no object" is learnt. Where there are more
    slots than rows, or fewer, what is left over stays unmatched and costs nothing.
    """

    difference: Literal["huber", "cross_entropy"] = "huber"
    """`huber`: quadratic up to 1, then linear; `cross_entropy` (CoSA): of each number for itself,
    as a probability."""

    @override
    def __call__(
        self,
        prediction: Prediction,
        batch: Batch,
        context: Context,
        model: Model,
        teacher: Prediction | None,
    ) -> Float[Array, "b"]:
        found = prediction.outputs.get("properties")
        if found is None:
            raise ConfigError("The set_matching objective needs a model that predicts properties.")
        if prediction.target is None:
            raise ConfigError("The set_matching objective needs data with properties of objects.")
        return matched_cost(pair_costs(found, prediction.target, self.difference))
