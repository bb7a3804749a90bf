"""Slot Attention (Locatello et al. 2020, arXiv 2006.15055, Algorithm 1)."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.modules.base import (
    EpsilonOn,
    SlotModule,
    SlotModuleConfig,
    compete,
    cut,
    per_iteration,
    token_weights,
)
from slots.nn import MLP, GRUCell, glorot, precise
from slots.types import Grouping, Slots, Tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotAttentionConfig(SlotModuleConfig):
    """Settings of Slot Attention; the defaults are the paper's."""

    attention_dim: int | None = None
    """Width of queries, keys and values over all heads; None: the slots' width."""
    num_heads: int = 1
    """Slots compete within each head; several heads are merged by a linear map (SAVi's form)."""
    temperature: float = 1.0
    """Divides the logits. Below 1 the first slots differ more from the start, which keeps small
    models from leaving all slots equal."""
    mlp_hidden: int = 128
    """Width of the residual MLP after the GRU; 0 leaves it out."""
    mlp_final_relu: bool = False
    """ReLU on the residual as well, as in CoSA's base line."""
    use_bias: bool = False
    """Biases in the query, key and value maps; the released code has none."""
    epsilon: float = 1e-8
    """Keeps the mean finite when no token chooses a slot."""
    epsilon_on: EpsilonOn = "entries"
    """`entries` (2020): added to each weight, so that a slot nobody chose gets the plain mean;
    `sum` (SAVi): added to the normaliser, so that it gets zero."""
    layer_norm_epsilon: float = 1e-3
    """1e-3 in the released 2020 code (Keras), 1e-6 in the same group's later code."""
    gradient: Literal["full", "bilevel", "last"] = "full"
    """`full`: through all rounds. `last`: slots are cut off before the last round. `bilevel`: the
    same, but the gradient of the last round's input goes straight to the initial slots
    (Jia et al. 2023, arXiv 2210.08990)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ConfigError(f"module.temperature={self.temperature} must be above 0.")
        if self.attention_dim is not None and self.attention_dim % self.num_heads:
            raise ConfigError(
                f"attention_dim={self.attention_dim} does not divide into {self.num_heads} heads."
            )

    @override
    def make(
        self, *, feature_dim: int, slot_dim: int, scale_factor: float, rngs: nnx.Rngs
    ) -> "SlotAttention":
        del scale_factor  # no frames here
        return SlotAttention(self, feature_dim, slot_dim, rngs=rngs)


class SlotAttention(SlotModule):
    """Iterated attention in which slots compete for tokens.

    Parameters: `norm_inputs`, `norm_slots`, `norm_mlp`, `query`, `key`, `value`, `gru`, `mlp`, and
    `merge` with several heads.
    """

    def __init__(
        self, config: SlotAttentionConfig, feature_dim: int, slot_dim: int, *, rngs: nnx.Rngs
    ):
        width = config.attention_dim or slot_dim
        heads = config.num_heads
        if width % heads:
            raise ConfigError(f"num_heads={heads} does not divide the attention width {width}.")

        def norm(features: int) -> nnx.LayerNorm:
            return nnx.LayerNorm(features, epsilon=config.layer_norm_epsilon, rngs=rngs)

        def linear(features: int) -> nnx.Linear:
            return nnx.Linear(
                features, width, use_bias=config.use_bias, kernel_init=glorot, rngs=rngs
            )

        self.config = config
        self.norm_inputs, self.norm_slots = norm(feature_dim), norm(slot_dim)
        self.query, self.key, self.value = (
            linear(slot_dim),
            linear(feature_dim),
            linear(feature_dim),
        )
        head_width = width // heads
        self.merge = (
            nnx.Linear(width, head_width, kernel_init=glorot, rngs=rngs) if heads > 1 else None
        )
        self.gru = GRUCell(head_width, slot_dim, rngs=rngs)
        self.norm_mlp = norm(slot_dim) if config.mlp_hidden else None
        self.mlp = (
            MLP(
                slot_dim,
                config.mlp_hidden,
                slot_dim,
                final_relu=config.mlp_final_relu,
                rngs=rngs,
            )
            if config.mlp_hidden
            else None
        )

    @override
    def __call__(
        self, tokens: Tokens, slots: Slots, keys: Key[Array, "b"], *, train: bool
    ) -> Grouping:
        del keys  # deterministic
        features = self.norm_inputs(tokens.features)
        first = vectors = slots.vectors
        rounds = self.config.iterations(train)
        attentions = []
        for i in range(rounds):
            if i == rounds - 1 and self.config.gradient != "full":
                vectors = cut(vectors, first if self.config.gradient == "bilevel" else None)
            attention = compete(self._logits(vectors, features), slots.active)
            attentions.append(attention.mean(axis=1))
            vectors = self._update(vectors, self._read(features, attention, tokens))
        attention = per_iteration(attentions, tokens, slots)
        return Grouping(
            slots=dataclasses.replace(slots, vectors=vectors),
            attention=attention[:, -1],
            diagnostics={"attention_per_iteration": attention},
        )

    # Keys and values are never made. Both maps are linear, so the query map takes the key map in
    # and the mean is taken of the tokens: per round K·H rows of the kernels in place of N.

    def _logits(
        self, vectors: Float[Array, "b k s"], features: Float[Array, "b n d"]
    ) -> Float[Array, "b h k n"]:
        q = self._heads(self.query(self.norm_slots(vectors)))
        q = q * (q.shape[-1] ** -0.5 / self.config.temperature)
        rows = jnp.einsum("bkhe,dhe->bhkd", q, self._heads(self.key.kernel[...]))
        logits = jnp.einsum("bhkd,bnd->bhkn", rows, features, preferred_element_type=precise(q))
        if self.key.bias is None:
            return logits
        return logits + jnp.einsum("bkhe,he->bhk", q, self._heads(self.key.bias[...]))[..., None]

    def _read(
        self, features: Float[Array, "b n d"], attention: Float[Array, "b h k n"], tokens: Tokens
    ) -> Float[Array, "b k e"]:
        config = self.config
        weights = token_weights(attention, tokens.mask, config.epsilon, config.epsilon_on)
        # The mean is linear: normalised in float32, applied in the compute dtype.
        mean = jnp.einsum("bhkn,bnd->bhkd", weights.astype(features.dtype), features)
        read = jnp.einsum("bhkd,dhe->bkhe", mean, self._heads(self.value.kernel[...]))
        if self.value.bias is not None:
            # Not all of it where `epsilon_on` is `sum`: a slot nobody chose gets zero.
            share = jnp.swapaxes(weights.sum(axis=-1), 1, 2).astype(read.dtype)
            read = read + share[..., None] * self._heads(self.value.bias[...])[None, None]
        read = read.reshape(*read.shape[:2], -1)
        return read if self.merge is None else self.merge(read)

    def _heads(self, x: Float[Array, "*b w"]) -> Float[Array, "*b h e"]:
        return x.reshape(*x.shape[:-1], self.config.num_heads, -1)

    def _update(
        self, vectors: Float[Array, "b k s"], read: Float[Array, "b k e"]
    ) -> Float[Array, "b k s"]:
        vectors = self.gru(vectors, read)
        if self.mlp is not None and self.norm_mlp is not None:
            vectors = vectors + self.mlp(self.norm_mlp(vectors))
        return vectors
