"""Slot Attention whose slots get a frame only at the end: an ablation of Biza et al. 2023."""

import dataclasses

from flax import nnx
from jaxtyping import Array, Key
from typing_extensions import override

from slots.modules.base import SlotModule, SlotModuleConfig, check_scales, token_weights
from slots.modules.slot_attention import SlotAttentionConfig
from slots.nn import GridEncoder, estimate_frames
from slots.types import Grouping, Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplicitStatisticsConfig(SlotModuleConfig):
    """Absolute codes on the features, ordinary rounds, then position and scale from attention.

    The decoder draws in these frames; the rounds themselves know nothing of them, so that nothing
    is invariant (Biza et al. 2023, arXiv 2302.04973, ablation).
    """

    mlp_hidden: int = 128
    """Width of the residual MLP after the GRU; 0 leaves it out."""
    grid_hidden: int = 128
    """Width of the perceptron that features with their position codes go through."""
    temperature: float = 1.0
    """Divides the logits."""
    epsilon: float = 1e-8
    """Keeps means finite when no token chooses a slot; added to the scale's weights too."""
    layer_norm_epsilon: float = 1e-6
    min_scale: float = 0.01
    max_scale: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scales(self.min_scale, self.max_scale)

    @override
    def make(
        self, *, feature_dim: int, slot_dim: int, scale_factor: float, rngs: nnx.Rngs
    ) -> "ExplicitStatistics":
        return ExplicitStatistics(self, feature_dim, slot_dim, scale_factor, rngs=rngs)


class ExplicitStatistics(SlotModule):
    """Parameters: `grid_encoder`, `attention` (a Slot Attention)."""

    def __init__(
        self,
        config: ExplicitStatisticsConfig,
        feature_dim: int,
        slot_dim: int,
        scale_factor: float,
        *,
        rngs: nnx.Rngs,
    ):
        self.config = config
        self.grid_encoder = GridEncoder(
            feature_dim, config.grid_hidden, epsilon=config.layer_norm_epsilon, rngs=rngs
        )
        attention = SlotAttentionConfig(
            num_iterations=config.num_iterations,
            eval_iterations=config.eval_iterations,
            mlp_hidden=config.mlp_hidden,
            temperature=config.temperature,
            epsilon=config.epsilon,
            epsilon_on="sum",
            layer_norm_epsilon=config.layer_norm_epsilon,
        )
        self.attention = attention.make(
            feature_dim=feature_dim, slot_dim=slot_dim, scale_factor=scale_factor, rngs=rngs
        )

    @property
    @override
    def frame_dim(self) -> int:
        return 4  # position and scale

    @override
    def complete(self, slots: Slots) -> Slots:
        """First slots without the frames an initializer may give: they are not read."""
        return dataclasses.replace(slots, frames=None)

    @override
    def __call__(
        self, tokens: Tokens, slots: Slots, keys: Key[Array, "b"], *, train: bool
    ) -> Grouping:
        config = self.config
        features = self.grid_encoder(tokens.features, tokens.positions)
        coded = dataclasses.replace(tokens, features=features)
        grouping = self.attention(coded, slots, keys, train=train)
        frames = estimate_frames(
            tokens.positions,
            token_weights(grouping.attention, tokens.mask, config.epsilon),
            ("position", "scale"),
            epsilon=config.epsilon,
            scales=(config.min_scale, config.max_scale),
        )
        return dataclasses.replace(
            grouping, slots=dataclasses.replace(grouping.slots, frames=frames)
        )
