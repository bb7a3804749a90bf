"""Invariant Slot Attention (Biza et al. 2023, arXiv 2302.04973): slots that carry frames."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.modules.base import (
    SlotModule,
    SlotModuleConfig,
    check_scales,
    compete,
    cut,
    per_iteration,
    token_weights,
)
from slots.nn import (
    MLP,
    Coded,
    GridEncoder,
    GRUCell,
    Limit,
    Part,
    estimate_frames,
    join_frames,
    lecun,
    precise,
    relative_positions,
)
from slots.types import Frames, Grouping, Slots, Tokens

Codes = Coded | Float[Array, "b n d"]
State = tuple[Float[Array, "b k s"], Frames | None]

_PARTS: dict[str, tuple[Part, ...]] = {
    "none": (),
    "t": ("position",),
    "ts": ("position", "scale"),
    "tsr": ("position", "scale", "rotation"),
}

_SIZES = {"position": 2, "scale": 2, "rotation": 4}

_FIRST_SCALE = 0.1
"""Of slots whose initializer gives none: a fairly small object."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InvariantSlotAttentionConfig(SlotModuleConfig):
    """Settings of Invariant Slot Attention; the defaults are those of the paper's ISA-TS."""

    variant: Literal["none", "t", "ts", "tsr"] = "ts"
    """What a slot's frame holds: position (t), scale (s), rotation (r). `none` has no frames: keys
    and values get absolute codes (without bias) once, the paper's base line for them."""
    mlp_hidden: int = 128
    """Width of the residual MLP after the GRU; 0 leaves it out."""
    grid_hidden: int = 128
    """Width of the perceptron that keys and values with their position codes go through."""
    temperature: float = 1.0
    """Divides the logits."""
    epsilon: float = 1e-8
    """Keeps the mean finite when no token chooses a slot; added to the scale's weights too."""
    layer_norm_epsilon: float = 1e-6
    position_in_values: bool = True
    """Off: values are plain, the same for all slots, and without the perceptron."""
    absolute: bool = False
    """Ablation: absolute codes in place of relative ones; frames are estimated all the same."""
    zero_position_init: bool = False
    """All slots start in the middle, whatever the initializer gives."""
    init_with_fixed_scale: float | None = None
    """All slots start with this scale, whatever the initializer gives."""
    min_scale: float = 0.001
    max_scale: float = 2.0
    rotation_limit: Limit = 45
    """45: the principal axis closest to horizontal is the frame's first; 90: the major axis is."""
    stop_gradient: tuple[Part, ...] = ()
    """Parts of the frame that carry no gradient, neither between rounds nor to the decoder."""
    append_statistics: bool = False
    """Before each update, slots become a linear map of themselves and their frame (for a rotation
    the matrix and the angle of its first axis from y)."""
    mix_slots: bool = False
    """A last perceptron on slots and frames together; what comes out is read as both, unbounded."""
    grid_in_features: bool = False
    """Takes the last two features of each token for its coordinates, as the released ResNet
    configurations of TS and TSR do (see docs/invariant_slot_attention.md)."""
    gradient: Literal["full", "bilevel", "last"] = "full"
    """`full`: through all rounds. `last`, `bilevel`: slots and frames are cut off before the last
    update; with `bilevel` its gradient goes straight to the initial ones (as in Slot Attention)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ConfigError(f"module.temperature={self.temperature} must be above 0.")
        check_scales(self.min_scale, self.max_scale)
        unknown = [part for part in self.stop_gradient if part not in self.parts]
        if unknown:
            raise ConfigError(
                f"module.stop_gradient names {unknown[0]!r}, but the frames of "
                f"variant={self.variant!r} hold {self.parts}."
            )
        if self.variant == "none" and (self.append_statistics or self.mix_slots):
            raise ConfigError("append_statistics and mix_slots need frames: choose a variant.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """What a slot's frame holds."""
        return _PARTS[self.variant]

    @override
    def make(
        self, *, feature_dim: int, slot_dim: int, scale_factor: float, rngs: nnx.Rngs
    ) -> "InvariantSlotAttention":
        return InvariantSlotAttention(self, feature_dim, slot_dim, scale_factor, rngs=rngs)


class InvariantSlotAttention(SlotModule):
    """Slot Attention in which each slot sees the tokens from its own frame.

    The frame is read off the attention by weighted moments: centre, principal axes, spread along
    them. T updates of the content take T + 1 rounds; the last one only refreshes the frames.

    Parameters: `norm_inputs`, `norm_slots`, `norm_mlp`, `query`, `key`, `value`, `grid_encoder`,
    `gru`, `mlp`; `statistics`, `norm_mix`, `mix` where the settings ask for them.
    """

    def __init__(
        self,
        config: InvariantSlotAttentionConfig,
        feature_dim: int,
        slot_dim: int,
        scale_factor: float,
        *,
        rngs: nnx.Rngs,
    ):

        def norm(features: int) -> nnx.LayerNorm:
            return nnx.LayerNorm(features, epsilon=config.layer_norm_epsilon, rngs=rngs)

        def linear(features: int, *, use_bias: bool = False) -> nnx.Linear:
            return nnx.Linear(features, slot_dim, use_bias=use_bias, kernel_init=lecun, rngs=rngs)

        def mlp(width: int, hidden: int) -> MLP:
            return MLP(width, hidden, width, kernel_init=lecun, rngs=rngs)

        self.config, self.scale_factor = config, scale_factor
        feature_dim -= 2 * config.grid_in_features
        self.norm_inputs, self.norm_slots = norm(feature_dim), norm(slot_dim)
        self.query, self.key, self.value = (
            linear(slot_dim),
            linear(feature_dim),
            linear(feature_dim),
        )
        self.grid_encoder = GridEncoder(
            slot_dim,
            config.grid_hidden,
            use_bias=config.variant != "none",
            epsilon=config.layer_norm_epsilon,
            rngs=rngs,
        )
        self.gru = GRUCell(slot_dim, slot_dim, kernel_init=lecun, rngs=rngs)
        self.norm_mlp = norm(slot_dim) if config.mlp_hidden else None
        self.mlp = mlp(slot_dim, config.mlp_hidden) if config.mlp_hidden else None
        pose = self.frame_dim
        angle = "rotation" in config.parts
        self.statistics = (
            linear(slot_dim + pose + angle, use_bias=True) if config.append_statistics else None
        )
        self.norm_mix = norm(slot_dim + pose) if config.mix_slots else None
        self.mix = mlp(slot_dim + pose, 128) if config.mix_slots else None

    @property
    @override
    def frame_dim(self) -> int:
        return sum(_SIZES[part] for part in self.config.parts)

    @override
    def complete(self, slots: Slots) -> Slots:
        """First frames: the initializer's, clipped; in the middle, small and upright by default."""
        config, given = self.config, slots.frames or Frames()
        shape = (*slots.vectors.shape[:2], 2)
        position, scale, rotation = given.position, given.scale, given.rotation
        if position is None or config.zero_position_init:
            position = jnp.zeros(shape)
        if config.init_with_fixed_scale is not None:
            scale = jnp.full(shape, config.init_with_fixed_scale)
        if scale is None:
            scale = jnp.full(shape, _FIRST_SCALE)
        if rotation is None:
            rotation = jnp.broadcast_to(jnp.eye(2), (*shape, 2))
        first = {
            "position": jnp.clip(position, -1, 1),
            "scale": jnp.clip(scale, config.min_scale, config.max_scale),
            "rotation": rotation,
        }
        parts = {part: first[part].astype(precise(first[part])) for part in config.parts}
        return dataclasses.replace(slots, frames=Frames(**parts) if parts else None)

    @override
    def __call__(
        self, tokens: Tokens, slots: Slots, keys: Key[Array, "b"], *, train: bool
    ) -> Grouping:
        del keys  # deterministic
        config = self.config
        features, positions = tokens.features, tokens.positions
        if config.grid_in_features:
            features, positions = features[..., :-2], features[..., -2:]
        tokens = dataclasses.replace(tokens, positions=positions.astype(precise(positions)))
        features = self.norm_inputs(features)
        k = self._code(self.key(features), tokens)
        plain = self.value(features)
        v = self._code(plain, tokens) if config.position_in_values else plain
        first = state = (slots.vectors, slots.frames)
        updates = config.iterations(train)
        attentions = []
        for i in range(updates + 1 if config.parts else updates):
            if i == updates - 1 and config.gradient != "full":
                state = cut(state, first if config.gradient == "bilevel" else None)
            vectors, frames = state
            places = tokens.positions[:, None]
            if frames is not None:
                places = relative_positions(places, frames, self.scale_factor)
            attention = compete(self._scores(k, places, vectors), slots.active)
            attentions.append(attention)
            weights = token_weights(attention, tokens.mask, config.epsilon)
            frames = self._estimate(tokens, weights)
            if i < updates:
                vectors = self._update(vectors, frames, self._read(v, places, weights))
            state = (vectors, frames)
        attention = per_iteration(attentions, tokens, slots)
        vectors, frames = state
        if frames is not None and self.mix is not None and self.norm_mix is not None:
            vectors, frames = self._split(self.mix(self.norm_mix(join_frames(vectors, frames))))
        return Grouping(
            slots=dataclasses.replace(slots, vectors=vectors, frames=frames),
            attention=attention[:, -1],
            diagnostics={"attention_per_iteration": attention},
        )

    def _code(self, features: Float[Array, "b n d"], tokens: Tokens) -> Codes:
        """Keys or values with their position: what relative codes need, or the absolute codes."""
        if self.config.parts and not self.config.absolute:
            return self.grid_encoder.prepare(features)
        return self.grid_encoder(features, tokens.positions)

    def _scores(
        self, k: Codes, places: Float[Array, "b k1 n 2"], vectors: Float[Array, "b k s"]
    ) -> Float[Array, "b k n"]:
        q = self.query(self.norm_slots(vectors))
        q = q * (q.shape[-1] ** -0.5 / self.config.temperature)
        if isinstance(k, Coded):
            return self.grid_encoder.scores(k, places, q)
        return jnp.einsum("bkd,bnd->bkn", q, k, preferred_element_type=precise(k))

    def _read(
        self, v: Codes, places: Float[Array, "b k1 n 2"], weights: Float[Array, "b k n"]
    ) -> Float[Array, "b k d"]:
        """The values' mean under weights that sum to 1 over the tokens."""
        if isinstance(v, Coded):
            return self.grid_encoder.averages(v, places, weights)
        return jnp.einsum("bkn,bnd->bkd", weights.astype(v.dtype), v)

    def _estimate(self, tokens: Tokens, weights: Float[Array, "b k n"]) -> Frames | None:
        """The frames that weights span over the tokens' places."""
        config = self.config
        if not config.parts:
            return None
        frames = estimate_frames(
            tokens.positions,
            weights,
            config.parts,
            epsilon=config.epsilon,
            scales=(config.min_scale, config.max_scale),
            limit=config.rotation_limit,
        )
        stopped = {p: jax.lax.stop_gradient(getattr(frames, p)) for p in config.stop_gradient}
        return dataclasses.replace(frames, **stopped)

    def _update(
        self,
        vectors: Float[Array, "b k s"],
        frames: Frames | None,
        read: Float[Array, "b k s"],
    ) -> Float[Array, "b k s"]:
        if self.statistics is not None and frames is not None:
            joined = join_frames(vectors, frames)
            if frames.rotation is not None:
                along_x, along_y = frames.rotation[..., 0, :1], frames.rotation[..., 1, :1]
                angle = jnp.arctan2(along_x, along_y).astype(joined.dtype)
                joined = jnp.concatenate([joined, angle], axis=-1)
            vectors = self.statistics(joined)
        vectors = self.gru(vectors, read)
        if self.mlp is not None and self.norm_mlp is not None:
            vectors = vectors + self.mlp(self.norm_mlp(vectors))
        return vectors

    def _split(self, joined: Float[Array, "b k sp"]) -> tuple[Float[Array, "b k s"], Frames]:
        """Undoes `join_frames`."""
        sizes = [_SIZES[part] for part in self.config.parts]
        starts = [sum(sizes[i:]) for i in range(len(sizes))]
        vectors, *pose = jnp.split(joined, [joined.shape[-1] - s for s in starts], axis=-1)
        parts = {}
        for part, value in zip(self.config.parts, pose, strict=True):
            shape = (*value.shape[:2], 2, 2) if part == "rotation" else value.shape
            parts[part] = value.reshape(shape).astype(precise(value))
        return vectors, Frames(**parts)
