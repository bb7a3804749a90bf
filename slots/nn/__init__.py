"""Layers with no opinion about objects."""

from slots.nn.conv import Conv, conv_same, conv_transpose_same
from slots.nn.gru import GRUCell
from slots.nn.mlp import MLP, glorot
from slots.nn.position import (
    PositionEmbedding,
    PositionKind,
    encode_positions,
    grid_positions,
    pixel_positions,
    position_width,
    slot_positions,
)

__all__ = [
    "MLP",
    "Conv",
    "GRUCell",
    "PositionEmbedding",
    "PositionKind",
    "conv_same",
    "conv_transpose_same",
    "encode_positions",
    "glorot",
    "grid_positions",
    "pixel_positions",
    "position_width",
    "slot_positions",
]
