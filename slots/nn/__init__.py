"""Layers with no opinion about objects."""

from slots.nn.conv import Conv, conv_same, conv_same_constant, conv_transpose_same
from slots.nn.frames import (
    Limit,
    Part,
    estimate_frames,
    principal_angle,
    relative_positions,
    rotate_into,
    rotation_matrix,
    slot_positions,
)
from slots.nn.grid_encoder import Coded, GridEncoder
from slots.nn.gru import GRUCell
from slots.nn.mlp import MLP, glorot
from slots.nn.position import (
    PositionEmbedding,
    PositionKind,
    encode_positions,
    grid_positions,
    pixel_positions,
    position_width,
)
from slots.nn.precision import precise

__all__ = [
    "MLP",
    "Coded",
    "Conv",
    "GRUCell",
    "GridEncoder",
    "Limit",
    "Part",
    "PositionEmbedding",
    "PositionKind",
    "conv_same",
    "conv_same_constant",
    "conv_transpose_same",
    "encode_positions",
    "estimate_frames",
    "glorot",
    "grid_positions",
    "pixel_positions",
    "position_width",
    "precise",
    "principal_angle",
    "relative_positions",
    "rotate_into",
    "rotation_matrix",
    "slot_positions",
]
