"""Decoders: slots to pictures and masks."""

from slots.decoders.base import Decoder, DecoderConfig, Mixture
from slots.decoders.broadcast import Broadcast, BroadcastConfig
from slots.decoders.mlp import MLPDecoder, MLPDecoderConfig

DecoderConfig.kinds.update(broadcast=BroadcastConfig, mlp=MLPDecoderConfig)

__all__ = [
    "Broadcast",
    "BroadcastConfig",
    "Decoder",
    "DecoderConfig",
    "MLPDecoder",
    "MLPDecoderConfig",
    "Mixture",
]
