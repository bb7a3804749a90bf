"""Supervised set prediction: objects' properties from slots (Locatello et al. 2020, §4.2)."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from typing_extensions import override

from slots.models.grouping import GroupingConfig, GroupingModel
from slots.nn import MLP, kernel_init
from slots.nn.initial import KernelInit
from slots.properties import PropertyLayout, Range, layout
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetPredictionConfig(GroupingConfig):
    """A perceptron per slot in place of a decoder; slots are vectors of properties."""

    layout: str = "clevr"
    """Which properties, in which order: `clevr` or `shapes`."""
    coordinates: Range = "unit"
    """Their range: `unit` (Locatello et al. 2020) or `symmetric` (Slot Mixture Module)."""
    output: Literal["sigmoid", "softmax"] = "sigmoid"
    """`sigmoid`: one perceptron, every number by itself. `softmax`: one perceptron for coordinates
    and one for the rest, where the classes of a category share a softmax (Slot Mixture Module)."""
    hidden: int = 64
    """Width of the perceptrons."""
    kernel_init: KernelInit = "glorot"

    def __post_init__(self) -> None:
        super().__post_init__()
        layout(self.layout)

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "SetPrediction":
        return SetPrediction(self, image_shape, rngs=rngs)


class SetPrediction(GroupingModel):
    """Parameters: `encoder`, `initializer`, `module`, `head`; `position_head` with `softmax`.

    The prediction's `target` is the encoded set of the batch, where it has one; `outputs` hold
    `properties` [B,K,P].
    """

    def __init__(
        self, config: SetPredictionConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs
    ):
        self.config: SetPredictionConfig = config
        self.image_shape = image_shape
        self.encoder, self.initializer, self.module = config.parts(image_shape, rngs)
        width = layout(config.layout).width
        law = kernel_init(config.kernel_init)

        def head(outputs: int) -> MLP:
            return MLP(self.read_dim, config.hidden, outputs, kernel_init=law, rngs=rngs)

        apart = config.output == "softmax"
        self.head = head(width - self.layout.position if apart else width)
        self.position_head = head(self.layout.position) if apart else None

    @property
    def layout(self) -> PropertyLayout:
        """Of the vectors."""
        return layout(self.config.layout)

    @property
    def distance_scale(self) -> float:
        """From differences of the vectors' coordinates to the scene's units."""
        return self.layout.distance_scale(self.config.coordinates)

    @override
    def __call__(
        self, batch: Batch, context: Context, variables: dict[str, Any]
    ) -> tuple[Prediction, dict[str, Any]]:
        _, tokens, grouping, variables = self.group(batch, context, variables)
        target = None
        if batch.properties is not None:
            target = self.layout.encode(batch.properties, self.config.coordinates)
        found, active = self._predict(self.read(grouping.slots)), grouping.slots.active
        if active is not None:  # what takes no part is nothing
            found = jnp.where(active[..., None], found, 0)
        prediction = Prediction(
            tokens=tokens,
            grouping=grouping,
            reconstruction=None,
            target=target,
            outputs={"properties": found},
        )
        return prediction, variables

    def _predict(self, vectors: Float[Array, "b k s"]) -> Float[Array, "b k p"]:
        """Properties in float32."""
        logits = self.head(vectors).astype(jnp.float32)
        if self.position_head is None:
            place, rest = jnp.split(logits, [self.layout.position], axis=-1)
            place = jax.nn.sigmoid(place)
            rest = jax.nn.sigmoid(rest)
        else:
            place = jax.nn.sigmoid(self.position_head(vectors).astype(jnp.float32))
            sizes = list(self.layout.sizes.values())
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            *classes, present = jnp.split(logits, ends, axis=-1)
            classes = [jax.nn.softmax(x, axis=-1) for x in classes]
            rest = jnp.concatenate([*classes, jax.nn.sigmoid(present)], axis=-1)
        if self.config.coordinates == "symmetric":
            place = 2 * place - 1
        return jnp.concatenate([place, rest], axis=-1)
