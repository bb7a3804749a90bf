"""Classes of whole scenes from their slots (CoSA: Kori et al., ICLR 2024)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import override

from slots.config import ConfigError
from slots.models.grouping import GroupingConfig, GroupingModel
from slots.nn import MLP, EntryNetworks, glorot
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReasoningConfig(GroupingConfig):
    """A class from all slots in place of a decoder.

    With a dictionary of slots (`initializer=dictionary`) each slot is read by what belongs to its
    entry; without one all are read alike.
    """

    classes: int = 19
    """Of scenes: as many as the data's task has."""
    category: str = "digit"
    """The objects' property that slots are compared with."""
    properties: int = 11
    """Width P of a slot's vector: the classes of that property, before them one for nothing."""
    hidden: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("classes", "properties", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name}={getattr(self, name)} must be at least 1.")

    @property
    @override
    def num_classes(self) -> int:
        return self.classes

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "Reasoning":
        return Reasoning(self, image_shape, rngs=rngs)


class Reasoning(GroupingModel):
    """Parameters: `encoder`, `initializer`, `module`, `head`.

    The prediction's `outputs` hold `class_logits` [B,C] and `properties` [B,K,P] in [0, 1]. Its
    `target` [B,R,P], where the batch knows the objects, is one-hot: a row per object, then rows of
    nothing up to the number of slots. No gradient need flow to properties: what slots came to mean
    is seen in them (Kori et al. compare them with the truth by `matched_huber_cost`).
    """

    def __init__(
        self, config: ReasoningConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs
    ):
        self.config: ReasoningConfig = config
        self.image_shape = image_shape
        self.encoder, self.initializer, self.module = config.parts(image_shape, rngs)
        inputs, entries = self.read_dim, self.initializer.num_entries
        self.head = (
            EntryHead(entries, inputs, config, rngs=rngs)
            if entries
            else PooledHead(inputs, config, rngs=rngs)
        )

    @override
    def __call__(
        self, batch: Batch, context: Context, variables: dict[str, Any]
    ) -> tuple[Prediction, dict[str, Any]]:
        _, tokens, grouping, variables = self.group(batch, context, variables)
        vectors, active = self.read(grouping.slots), grouping.slots.active
        if active is None:
            active = jnp.ones(vectors.shape[:2], bool)
        if isinstance(self.head, EntryHead):
            found, logits = self.head(vectors, active, grouping.diagnostics["codes"])
        else:
            found, logits = self.head(vectors, active)
        nothing = jax.nn.one_hot(0, self.config.properties)
        found = jax.nn.sigmoid(found.astype(jnp.float32))
        prediction = Prediction(
            tokens=tokens,
            grouping=grouping,
            reconstruction=None,
            target=self._target(batch, vectors.shape[1]),
            outputs={
                "class_logits": logits.astype(jnp.float32),
                "properties": jnp.where(active[..., None], found, nothing),
            },
        )
        return prediction, variables

    def _target(self, batch: Batch, num_slots: int) -> Float[Array, "b r p"] | None:
        """The objects' classes, one-hot."""
        if batch.properties is None:
            return None
        category = self.config.category
        if category not in batch.properties:
            raise ConfigError(
                f"The data have no property model.category={category!r}; "
                f"they have {', '.join(batch.properties)}."
            )
        classes = batch.properties[category]
        empty = max(num_slots - classes.shape[1], 0)
        return jax.nn.one_hot(jnp.pad(classes, ((0, 0), (0, empty))), self.config.properties)


class EntryHead(nnx.Module):
    """Σ_k A_m(s_k) ⊙ t_m through a linear layer, where m is the entry of slot k.

    Parameters: `networks` (A), `attention` (t) [M,P], `output`.
    """

    def __init__(self, entries: int, inputs: int, config: ReasoningConfig, *, rngs: nnx.Rngs):
        law = nnx.initializers.glorot_uniform(batch_axis=0)
        self.networks = EntryNetworks(
            entries,
            inputs,
            config.hidden,
            config.properties,
            kernel_init=law,
            bias_init=nnx.initializers.zeros,
            rngs=rngs,
        )
        self.attention = nnx.Param(jnp.ones((entries, config.properties)))
        # From zero: while properties tell nothing, random weights would drive them down, and below
        # the last ReLU nothing brings them back.
        start = nnx.initializers.zeros
        self.output = nnx.Linear(config.properties, config.classes, kernel_init=start, rngs=rngs)

    def __call__(
        self, vectors: Float[Array, "b k i"], active: Bool[Array, "b k"], codes: Int[Array, "b k"]
    ) -> tuple[Float[Array, "b k p"], Float[Array, "b c"]]:
        """Properties of slots, and logits of the scene's class."""
        properties = self.networks(vectors, codes)
        weighted = properties * self.attention[...][codes]
        return properties, self.output(jnp.where(active[..., None], weighted, 0).sum(axis=1))


class PooledHead(nnx.Module):
    """The mean over slots of one perceptron's outputs through a linear layer: no dictionary.

    Parameters: `mlp`, `output`.
    """

    def __init__(self, inputs: int, config: ReasoningConfig, *, rngs: nnx.Rngs):
        self.mlp = MLP(inputs, config.hidden, config.properties, rngs=rngs)
        self.output = nnx.Linear(config.properties, config.classes, kernel_init=glorot, rngs=rngs)

    def __call__(
        self, vectors: Float[Array, "b k i"], active: Bool[Array, "b k"]
    ) -> tuple[Float[Array, "b k p"], Float[Array, "b c"]]:
        """Properties of slots, and logits of the scene's class."""
        properties = self.mlp(vectors)
        number = jnp.maximum(active.sum(axis=1, keepdims=True), 1).astype(properties.dtype)
        total = jnp.where(active[..., None], properties, 0).sum(axis=1)
        return properties, self.output(total / number)
