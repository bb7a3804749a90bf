"""The object-discovery autoencoder: encoder, initializer, slot module, decoder."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from typing_extensions import override

from slots.config import ConfigError
from slots.decoders.base import DecoderConfig
from slots.encoders.base import EncoderConfig
from slots.initializers.base import InitializerConfig
from slots.models.base import Model, ModelConfig, example_keys
from slots.modules.base import SlotModuleConfig
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageModelConfig(ModelConfig):
    """Wiring of the parts; each is swapped by its name, as in `model.module=slot_attention`."""

    encoder: EncoderConfig
    initializer: InitializerConfig
    module: SlotModuleConfig
    decoder: DecoderConfig
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

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "ImageModel":
        return ImageModel(self, image_shape, rngs=rngs)


class ImageModel(Model):
    """Parameters: `encoder`, `initializer`, `module`, `decoder`."""

    def __init__(
        self, config: ImageModelConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs
    ):
        self.config: ImageModelConfig = config
        self.image_shape = image_shape
        self.encoder = config.encoder.make(image_shape=image_shape, rngs=rngs)
        feature_dim = self.encoder.feature_dim
        self.initializer = config.initializer.make(
            num_slots=config.num_slots,
            slot_dim=config.slot_dim,
            feature_dim=feature_dim,
            rngs=rngs,
        )
        self.module = config.module.make(
            feature_dim=feature_dim,
            slot_dim=config.slot_dim,
            scale_factor=config.scale_factor,
            rngs=rngs,
        )
        self.decoder = config.decoder.make(
            slot_dim=config.slot_dim,
            image_shape=image_shape,
            scale_factor=config.scale_factor,
            rngs=rngs,
        )

    @override
    def init_variables(self) -> dict[str, Any]:
        return {"initializer": self.initializer.init_variables()}

    @override
    def __call__(
        self, batch: Batch, context: Context, variables: dict[str, Any]
    ) -> tuple[Prediction, dict[str, Any]]:
        if batch.image is None or batch.image.shape[1:] != self.image_shape:
            got = None if batch.image is None else batch.image.shape[1:]
            raise ConfigError(f"The model expects pictures of {self.image_shape}, got {got}.")
        target = self.from_image(batch.pixels)
        init_key, module_key = jax.random.split(context.key)
        size = len(target)

        def group(target: Any) -> Any:
            tokens = self.encoder(target)
            slots, carried = self.initializer(
                tokens,
                example_keys(init_key, batch, size),
                variables["initializer"],
                train=context.train,
            )
            keys = example_keys(module_key, batch, size)
            slots = self.module.complete(slots)
            return tokens, self.module(tokens, slots, keys, train=context.train), carried

        decode = self.decoder.__call__
        if self.config.remat and context.train:
            group, decode = jax.checkpoint(group), jax.checkpoint(decode)
        tokens, grouping, carried = group(target)
        prediction = Prediction(
            tokens=tokens,
            grouping=grouping,
            reconstruction=decode(grouping.slots),
            target=target,
        )
        return prediction, {"initializer": carried}
