"""The object-discovery autoencoder: encoder, initializer, slot module, decoder."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from typing_extensions import override

from slots.decoders.base import DecoderConfig
from slots.models.grouping import GroupingConfig, GroupingModel
from slots.types import Batch, Context, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageModelConfig(GroupingConfig):
    """Wiring of the parts; each is swapped by its name, as in `model.module=slot_attention`."""

    decoder: DecoderConfig

    @override
    def make(self, *, image_shape: tuple[int, int, int], rngs: nnx.Rngs) -> "ImageModel":
        return ImageModel(self, image_shape, rngs=rngs)


class ImageModel(GroupingModel):
    """Parameters: `encoder`, `initializer`, `module`, `decoder`."""

    def __init__(
        self, config: ImageModelConfig, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs
    ):
        self.config, self.image_shape = config, image_shape
        self.encoder, self.initializer, self.module = config.parts(image_shape, rngs)
        self.decoder = config.decoder.make(
            slot_dim=config.slot_dim,
            image_shape=image_shape,
            scale_factor=config.scale_factor,
            rngs=rngs,
        )

    @override
    def __call__(
        self, batch: Batch, context: Context, variables: dict[str, Any]
    ) -> tuple[Prediction, dict[str, Any]]:
        target, tokens, grouping, variables = self.group(batch, context, variables)
        decode = self.decoder.__call__
        if self.config.remat and context.train:
            decode = jax.checkpoint(decode)
        prediction = Prediction(
            tokens=tokens,
            grouping=grouping,
            reconstruction=decode(grouping.slots),
            target=target,
        )
        return prediction, variables
