"""Loss between sets: of the cheapest one-to-one assignment (Locatello et al. 2020, §4.2)."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from typing_extensions import override

from slots.config import ConfigError
from slots.models.base import Model
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
        cost = pair_costs(found, prediction.target, self.difference)
        rows, columns = match(cost)
        return jax.vmap(lambda c, i, j: c[i, j].sum())(cost, rows, columns)


def pair_costs(
    found: Float[Array, "b k p"], target: Float[Array, "b m p"], difference: str = "huber"
) -> Float[Array, "b m k"]:
    """Mean over the numbers of each target's difference from each prediction, in float32."""
    found, target = found.astype(jnp.float32)[:, None], target.astype(jnp.float32)[:, :, None]
    if difference == "huber":
        return optax.losses.huber_loss(found, target).mean(axis=-1)
    # Probabilities of exactly 0 and 1 keep a finite loss, as in PyTorch (logarithms above -100).
    yes, no = (jnp.maximum(jnp.log(jnp.maximum(p, 1e-38)), -100) for p in (found, 1 - found))
    return -(target * yes + (1 - target) * no).mean(axis=-1)


def match(
    cost: Float[Array, "b m k"],
) -> tuple[Int[Array, "b pairs"], Int[Array, "b pairs"]]:
    """Rows and columns of the cheapest assignment of each example; they carry no gradient.

    A cost that is not finite counts as a large one, so that the answer is an assignment even then.
    """
    cost = jnp.nan_to_num(jax.lax.stop_gradient(cost), nan=1e6, posinf=1e6, neginf=-1e6)
    return jax.vmap(optax.assignment.hungarian_algorithm)(cost)
