"""Slot modules: each refines slots from tokens."""

from slots.modules.base import SlotModule, SlotModuleConfig
from slots.modules.slot_attention import SlotAttention, SlotAttentionConfig

SlotModuleConfig.kinds.update(slot_attention=SlotAttentionConfig)

__all__ = ["SlotAttention", "SlotAttentionConfig", "SlotModule", "SlotModuleConfig"]
