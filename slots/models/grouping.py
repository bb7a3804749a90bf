"""From pictures to refined slots: what the models with an encoder and a slot module share."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from slots.config import ConfigError
from slots.encoders.base import Encoder, EncoderConfig
from slots.initializers.base import Initializer, InitializerConfig
from slots.models.base import Model, ModelConfig, example_keys
from slots.modules.base import SlotModule, SlotModuleConfig
from slots.nn import join_frames
from slots.types import Batch, Context, Grouping, Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupingConfig(ModelConfig):
    """Encoder, initializer and slot module, each swapped by its name (`model.module=mesh`)."""

    encoder: EncoderConfig
    initializer: InitializerConfig
    module: SlotModuleConfig
    num_slots: int = 7
    slot_dim: int = 64
    scale_factor: float = 5.0
    """What coordinates relative to a slot's frame are divided by, in module and decoder alike
    (Biza et al. 2023, δ)."""
    remat: bool = False
    """Recomputes encoder, slot module and decoder in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        if self.num_slots < 1 or self.slot_dim < 1:
            raise ConfigError(
                f"num_slots={self.num_slots} and slot_dim={self.slot_dim} must be at least 1."
            )

    def parts(
        self, image_shape: tuple[int, int, int], rngs: nnx.Rngs
    ) -> tuple[Encoder, Initializer, SlotModule]:
        """The three parts, made to fit each other."""
        encoder = self.encoder.make(image_shape=image_shape, rngs=rngs)
        initializer = self.initializer.make(
            num_slots=self.num_slots,
            slot_dim=self.slot_dim,
            feature_dim=encoder.feature_dim,
            content_dim=encoder.content_dim,
            rngs=rngs,
        )
        module = self.module.make(
            feature_dim=encoder.feature_dim,
            slot_dim=self.slot_dim,
            scale_factor=self.scale_factor,
            rngs=rngs,
        )
        return encoder, initializer, module


class GroupingModel(Model):
    """A model that groups; what it does with the slots is its own.

    The constructor sets the attributes below.
    """

    config: GroupingConfig
    image_shape: tuple[int, int, int]
    encoder: Encoder
    initializer: Initializer
    module: SlotModule

    @property
    def trains_first_slots(self) -> bool:
        """Unless the slot module cuts them off, or does not look at them."""
        return self.config.module.trains_first_slots

    @property
    def read_dim(self) -> int:
        """Width of what `read` gives."""
        return self.config.slot_dim + self.module.frame_dim

    def read(self, slots: Slots) -> Float[Array, "b k sp"]:
        """Slots for a head: vectors, and beside them the frames that hold the places, if any."""
        return join_frames(slots.vectors, slots.frames if self.module.frame_dim else None)

    def init_variables(self, key: Key[Array, ""]) -> dict[str, Any]:
        """The initializer's."""
        return {"initializer": self.initializer.init_variables(key)}

    def group(
        self, batch: Batch, context: Context, variables: dict[str, Any]
    ) -> tuple[Float[Array, "b h w c"], Tokens, Grouping, dict[str, Any]]:
        """The picture in the model's range, its tokens, their grouping and the new variables.

        Raises:
            ConfigError: the pictures are of another shape than the model was made for.
        """
        if batch.image is None or batch.image.shape[1:] != self.image_shape:
            got = None if batch.image is None else batch.image.shape[1:]
            raise ConfigError(f"The model expects pictures of {self.image_shape}, got {got}.")
        target = self.from_image(batch.pixels)
        init_key, module_key = jax.random.split(context.key)
        size = len(target)

        def group(target: Float[Array, "b h w c"]) -> tuple[Tokens, Grouping, dict[str, Any]]:
            tokens = self.encoder(target)
            first, carried = self.initializer(
                tokens,
                example_keys(init_key, batch, size),
                variables["initializer"],
                train=context.train,
            )
            keys = example_keys(module_key, batch, size)
            slots = self.module.complete(first.slots)
            grouping = self.module(tokens, slots, keys, train=context.train)
            grouping = dataclasses.replace(
                grouping,
                losses=first.losses | grouping.losses,
                diagnostics=first.diagnostics | grouping.diagnostics,
            )
            return tokens, grouping, carried

        if self.config.remat and context.train:
            group = jax.checkpoint(group)
        tokens, grouping, carried = group(target)
        return target, tokens, grouping, {"initializer": carried}
