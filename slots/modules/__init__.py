"""Slot modules: each refines slots from tokens."""

from slots.modules.base import SlotModule, SlotModuleConfig
from slots.modules.explicit_statistics import ExplicitStatistics, ExplicitStatisticsConfig
from slots.modules.invariant_slot_attention import (
    InvariantSlotAttention,
    InvariantSlotAttentionConfig,
)
from slots.modules.mesh import MESH, MESHConfig
from slots.modules.slot_attention import SlotAttention, SlotAttentionConfig
from slots.modules.slot_mixture import SlotMixture, SlotMixtureConfig

SlotModuleConfig.kinds.update(
    explicit_statistics=ExplicitStatisticsConfig,
    invariant_slot_attention=InvariantSlotAttentionConfig,
    mesh=MESHConfig,
    slot_attention=SlotAttentionConfig,
    slot_mixture=SlotMixtureConfig,
)

__all__ = [
    "MESH",
    "ExplicitStatistics",
    "ExplicitStatisticsConfig",
    "InvariantSlotAttention",
    "InvariantSlotAttentionConfig",
    "MESHConfig",
    "SlotAttention",
    "SlotAttentionConfig",
    "SlotMixture",
    "SlotMixtureConfig",
    "SlotModule",
    "SlotModuleConfig",
]
