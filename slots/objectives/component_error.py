"""Squared error of each component alone, so that a mask says whose a pixel is."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float
from typing_extensions import override

from slots.config import ConfigError
from slots.models.base import Model
from slots.objectives.base import ObjectiveConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComponentErrorConfig(ObjectiveConfig):
    """Squared error of every component, weighted by its mask; mean over places and channels.

    Per place Σ_k m_k (part_k - target)². By Jensen's inequality that is at least the squared error
    of the mixture; the difference is the variance Σ_k m_k (part_k - output)² of what the components
    draw. A mixture alone cannot tell a dim slot that owns a pixel from a bright one that shares it
    with a black background: both draw the same. This term can, and so settles the masks of dim
    pixels. A place drawn by one component costs the same in both.

    Not a part of Slot Attention as published. It is the wide-noise limit, up to scale, of the
    mixture likelihood of MONet (Burgess et al. 2019) and IODINE (Greff et al. 2019):
    -2σ² log Σ_k m_k N(target; part_k, σ²), without its constant, for σ → ∞.
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
        drawn, target = prediction.reconstruction, prediction.target
        if drawn is None or drawn.parts is None or target is None:
            raise ConfigError(
                "The component_error objective needs a model whose components draw parts."
            )
        difference = drawn.parts.astype(jnp.float32) - target.astype(jnp.float32)[:, None]
        error = jnp.square(difference).mean(axis=-1)
        return (drawn.masks * error).sum(axis=1).mean(axis=(-2, -1))
