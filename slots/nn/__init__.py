"""Layers with no opinion about objects."""

from slots.nn.attention import SelfAttention, dropout
from slots.nn.conv import Conv, conv_same, conv_transpose_same
from slots.nn.entry_networks import EntryNetworks
from slots.nn.frames import (
    Limit,
    Part,
    estimate_frames,
    join_frames,
    principal_angle,
    relative_positions,
    rotate_into,
    rotation_matrix,
    slot_positions,
)
from slots.nn.grid_encoder import Coded, GridEncoder
from slots.nn.gru import GRUCell
from slots.nn.initial import Initializer, KernelInit, glorot, kernel_init, lecun, uniform
from slots.nn.mlp import MLP
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
    "EntryNetworks",
    "GRUCell",
    "GridEncoder",
    "Initializer",
    "KernelInit",
    "Limit",
    "Part",
    "PositionEmbedding",
    "PositionKind",
    "SelfAttention",
    "conv_same",
    "conv_transpose_same",
    "dropout",
    "encode_positions",
    "estimate_frames",
    "glorot",
    "grid_positions",
    "join_frames",
    "kernel_init",
    "lecun",
    "pixel_positions",
    "position_width",
    "precise",
    "principal_angle",
    "relative_positions",
    "rotate_into",
    "rotation_matrix",
    "slot_positions",
    "uniform",
]
