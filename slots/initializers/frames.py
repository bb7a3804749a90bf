"""First frames for slots (Biza et al. 2023, arXiv 2302.04973): drawn or learned."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.initializers.base import FirstSlots, Initializer, InitializerConfig, Variables
from slots.initializers.learned import LearnedConfig
from slots.nn import rotation_matrix
from slots.types import Frames, Tokens

_EIGHTH = math.pi / 4

Source = Literal["random", "learned", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramesInitializerConfig(InitializerConfig):
    """Slots of another initializer with a frame each; `random` ones are fresh per example and slot.

    Draws are fresh at test time too. A slot module drops the parts that it does not carry.
    """

    content: InitializerConfig = LearnedConfig()
    """Where the vectors come from; its default is the paper's."""
    position: Source = "random"
    """U[-1, 1]², or a parameter per slot that starts there."""
    scale: Source = "random"
    """N(scale_mean, scale_std²) per axis, or a parameter per slot that starts there; the slot
    module clips it (about 16 % of the draws, at the paper's values)."""
    rotation: Source = "random"
    """An angle from U(-45°, 45°), or tanh(φ)·45° of a parameter φ per slot from N(0, 0.1²)."""
    scale_mean: float = 0.1
    scale_std: float | None = None
    """None: the paper's, 0.1 for draws and 0.01 for parameters."""
    one_noise: bool = False
    """Draws position and scale from the same numbers, as the released code does for ISA-TS (not
    TSR): scale is then a rising function of position, with correlation 0.98."""

    def __post_init__(self) -> None:
        if self.scale_std is not None and self.scale_std < 0:
            raise ConfigError(f"initializer.scale_std={self.scale_std} must not be negative.")
        if self.one_noise and (self.position, self.scale) != ("random", "random"):
            raise ConfigError("initializer.one_noise needs a random position and a random scale.")

    @override
    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, content_dim: int, rngs: nnx.Rngs
    ) -> "FramesInitializer":
        content = self.content.make(
            num_slots=num_slots,
            slot_dim=slot_dim,
            feature_dim=feature_dim,
            content_dim=content_dim,
            rngs=rngs,
        )
        return FramesInitializer(self, content, num_slots, rngs=rngs)


class FramesInitializer(Initializer):
    """Parameters: `content`; `position` [K,2], `scale` [K,2], `angle` [K] where learned."""

    def __init__(
        self,
        config: FramesInitializerConfig,
        content: Initializer,
        num_slots: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.config, self.content, self.num_slots = config, content, num_slots
        pair = (num_slots, 2)

        def learned(source: Source, values: Array) -> nnx.Param[Array] | None:
            return nnx.Param(values) if source == "learned" else None

        position = jax.random.uniform(rngs.params(), pair, minval=-1, maxval=1)
        scale = jax.random.normal(rngs.params(), pair)
        angle = jax.random.normal(rngs.params(), pair[:1])
        self.position = learned(config.position, position)
        self.scale = learned(config.scale, config.scale_mean + self._std * scale)
        self.angle = learned(config.rotation, 0.1 * angle)

    @property
    def _std(self) -> float:
        paper = 0.01 if self.config.scale == "learned" else 0.1
        return paper if self.config.scale_std is None else self.config.scale_std

    @override
    def init_variables(self, key: Key[Array, ""]) -> Variables:
        return self.content.init_variables(key)

    @override
    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[FirstSlots, Variables]:
        config, shape = self.config, (self.num_slots, 2)
        first, *draws = jnp.unstack(jax.vmap(lambda key: jax.random.split(key, 4))(keys), axis=1)
        found, variables = self.content(tokens, first, variables, train=train)

        def everyone(parameter: nnx.Param[Array]) -> Array:
            value = parameter[...].astype(jnp.float32)  # coordinates want it, whatever the rest has
            return jnp.broadcast_to(value[None], (len(keys), *value.shape))

        position = scale = angle = None
        if self.position is not None:
            position = everyone(self.position)
        elif config.position == "random":
            position = _each(draws[0], jax.random.uniform, shape, minval=-1.0, maxval=1.0)
        if self.scale is not None:
            scale = everyone(self.scale)
        elif config.scale == "random":
            noise = _each(draws[0 if config.one_noise else 1], jax.random.normal, shape)
            scale = config.scale_mean + self._std * noise
        if self.angle is not None:
            angle = jnp.tanh(everyone(self.angle)) * _EIGHTH
        elif config.rotation == "random":
            angle = _each(draws[2], jax.random.uniform, shape[:1], minval=-_EIGHTH, maxval=_EIGHTH)
        rotation = None if angle is None else rotation_matrix(angle)
        frames = Frames(position=position, scale=scale, rotation=rotation)
        slots = dataclasses.replace(found.slots, frames=frames)
        return dataclasses.replace(found, slots=slots), variables


def _each(
    keys: Key[Array, "b"], draw: Callable[..., Array], shape: tuple[int, ...], **options: float
) -> Array:
    """One draw of `shape` for every example."""
    return jax.vmap(lambda key: draw(key, shape, **options))(keys)
