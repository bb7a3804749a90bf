"""Slot modules: each refines slots from tokens."""

from slots.modules.base import SlotModule, SlotModuleConfig
from slots.modules.explicit_statistics import ExplicitStatistics, ExplicitStatisticsConfig
from slots.modules.invariant_slot_attention import (
    InvariantSlotAttention,
    InvariantSlotAttentionConfig,
)
from slots.modules.slot_attention import SlotAttention, SlotAttentionConfig

SlotModuleConfig.kinds.update(
    explicit_statistics=ExplicitStatisticsConfig,
    invariant_slot_attention=InvariantSlotAttentionConfig,
    slot_attention=SlotAttentionConfig,
)

__all__ = [
    "ExplicitStatistics",
    "ExplicitStatisticsConfig",
    "InvariantSlotAttention",
    "InvariantSlotAttentionConfig",
    "SlotAttention",
    "SlotAttentionConfig",
    "SlotModule",
    "SlotModuleConfig",
]
