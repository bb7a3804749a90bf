"""Slot Mixture Module (Kirilenko et al., ICLR 2024): slots are components of a Gaussian mixture."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.modules.base import (
    SlotModule,
    SlotModuleConfig,
    compete,
    cut,
    per_iteration,
    token_weights,
)
from slots.nn import MLP, GRUCell, SelfAttention, dropout, precise, uniform
from slots.types import Grouping, Slots, Tokens

State = tuple[Float[Array, "b k c"], Float[Array, "b k c"], Float[Array, "b k"]]
"""Means, logarithms of standard deviations, mixing weights."""

_TINY = 1e-12
"""Least mixing weight whose logarithm is taken, and least mass that is divided by; the square of
its inverse is finite in float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotMixtureConfig(SlotModuleConfig):
    """Settings of the Slot Mixture Module; the defaults are the method as the paper describes it.

    `prior="uniform"`, `first="picture"` and `gradient="last"` make the released model for set
    prediction; `distance_scale="one"`, `tie_values=True`, `gradient="last"` its like-for-like
    counterpart of Slot Attention. The publication counts its last round, before which the gradient
    is cut, apart: its 7 iterations are 8 here.
    """

    density: Literal["released", "normal"] = "released"
    """`released`: exp(-d²) + epsilon, without the factor ½ and the determinant, so that a wide
    component beats a narrow one at any distance; `normal`: the Gaussian density."""
    distance_scale: Literal["width", "one"] = "width"
    """Factor of d²: width^-½, or 1."""
    prior: Literal["counts", "uniform"] = "counts"
    """Mixing weights: mean responsibility over the tokens, which tells empty slots; or 1/K for
    ever, which is what the released code amounts to."""
    tie_values: bool = False
    """Values are the keys: means and distances live in one space, as in textbook EM."""
    first: Literal["given", "picture"] = "given"
    """`given`: components start at the initializer's slots. `picture`: a small transformer over the
    tokens and two learned ones decides where (the tokens it makes are the ones that are grouped);
    what the initializer gave is not looked at."""
    transformer_depth: int = 2
    transformer_heads: int = 4
    transformer_dropout: float = 0.1
    update: Literal["gru", "none"] = "gru"
    """`none`: means are the weighted means, without GRU and perceptron."""
    output: Literal["projected", "raw"] = "projected"
    """`projected`: a perceptron makes a slot of mean and spread. `raw`: a slot is both, side by
    side, each of half the slots' width."""
    mlp_hidden: int = 128
    """Width of the residual MLP after the GRU (at least the components' width)."""
    epsilon: float = 1e-8
    """Added to densities and variances: a token far from all components belongs to them by their
    mixing weights, and log σ is at least ½ log(epsilon)."""
    layer_norm_epsilon: float = 1e-5
    gradient: Literal["full", "bilevel", "last"] = "full"
    """`full`: through all rounds. `last`: components are cut off before the last round, and then
    first slots are never trained; `bilevel`: the same, but the gradient of the last round's input
    goes straight to the first components."""
    cut_prior: bool = True
    """Off: mixing weights are not cut off with the rest, as in the released FairGMM."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epsilon <= 0:
            raise ConfigError(f"module.epsilon={self.epsilon} must be above 0.")
        if not 0 <= self.transformer_dropout < 1:
            raise ConfigError(
                f"module.transformer_dropout={self.transformer_dropout} must be from 0 to below 1."
            )

    @property
    @override
    def trains_first_slots(self) -> bool:
        return self.first == "given" and super().trains_first_slots

    @override
    def make(
        self, *, feature_dim: int, slot_dim: int, scale_factor: float, rngs: nnx.Rngs
    ) -> "SlotMixture":
        del scale_factor  # no frames here
        return SlotMixture(self, feature_dim, slot_dim, rngs=rngs)


class SlotMixture(SlotModule):
    """Rounds of expectation and maximisation whose mean goes through a GRU and a perceptron.

    Parameters: `norm_inputs`, `norm_slots` (over mean and spread together), `query`, `key`,
    `value` unless tied, `gru`, `norm_mlp`, `mlp`, `project`; with `first="picture"` `first`.

    Slots carry `log_scale` [B,K,C] and `prior` [B,K] in `extras`: a first slot is a component with
    its vector as mean, which is 1 wide where the initializer says nothing. What comes out holds the
    last round's spread and weight there; the means are among the diagnostics.
    """

    def __init__(
        self, config: SlotMixtureConfig, feature_dim: int, slot_dim: int, *, rngs: nnx.Rngs
    ):
        if config.output == "raw" and slot_dim % 2:
            raise ConfigError(f"slot_dim={slot_dim} must be even with module.output='raw'.")
        width = slot_dim // 2 if config.output == "raw" else slot_dim
        hidden = max(width, config.mlp_hidden)

        def norm(features: int) -> nnx.LayerNorm:
            return nnx.LayerNorm(features, epsilon=config.layer_norm_epsilon, rngs=rngs)

        def linear(inputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, width, use_bias=False, kernel_init=uniform, rngs=rngs)

        self.config, self.width = config, width
        self.norm_inputs, self.norm_slots = norm(feature_dim), norm(2 * width)
        self.query, self.key = linear(width), linear(feature_dim)
        self.value = None if config.tie_values else linear(feature_dim)
        refined = config.update == "gru"
        self.gru = GRUCell(width, width, kernel_init=uniform, rngs=rngs) if refined else None
        self.norm_mlp = norm(width) if refined else None
        self.mlp = MLP(width, hidden, width, kernel_init=uniform, rngs=rngs) if refined else None
        self.project = (
            MLP(2 * width, 2 * hidden, width, kernel_init=uniform, rngs=rngs)
            if config.output == "projected"
            else None
        )
        self.first = (
            FirstComponents(config, feature_dim, width, hidden, rngs=rngs)
            if config.first == "picture"
            else None
        )

    @override
    def complete(self, slots: Slots) -> Slots:
        """Spread 1 and equal weights where the slots have none of their own."""
        shape = (*slots.vectors.shape[:2], self.width)
        dtype = precise(slots.vectors)
        # Raw slots hold their spread themselves.
        given = None if self.project is None else slots.extras.get("log_scale")
        extras = {
            "log_scale": (jnp.zeros(shape) if given is None else given).astype(dtype),
            "prior": slots.extras.get("prior", jnp.full(shape[:2], 1 / shape[1])).astype(dtype),
        }
        return dataclasses.replace(slots, extras=extras)

    @override
    def __call__(
        self, tokens: Tokens, slots: Slots, keys: Key[Array, "b"], *, train: bool
    ) -> Grouping:
        config, features = self.config, tokens.features
        mean, log_scale, prior = self._given(slots)
        if self.first is not None:
            features, mean, log_scale = self.first(tokens, mean.shape[1], keys, train=train)
        features = self.norm_inputs(features)
        k = self.key(features)
        v = k if self.value is None else self.value(features)
        first = state = (mean, log_scale.astype(precise(mean)), prior)
        rounds = config.iterations(train)
        attentions = []
        for i in range(rounds):
            if i == rounds - 1 and config.gradient != "full":
                state = self._cut(state, first)
            attention, state = self._round(k, v, state, slots.active, tokens.mask)
            attentions.append(attention)
        attention = per_iteration(attentions, tokens, slots)
        mean, log_scale, prior = state
        joined = jnp.concatenate([mean, log_scale.astype(mean.dtype)], axis=-1)
        return Grouping(
            slots=dataclasses.replace(
                slots,
                vectors=joined if self.project is None else self.project(joined),
                extras={"log_scale": log_scale, "prior": prior},
            ),
            attention=attention[:, -1],
            diagnostics={"attention_per_iteration": attention, "mean": mean},
        )

    def _given(self, slots: Slots) -> State:
        prior = slots.extras["prior"]
        if self.project is None:
            mean, log_scale = jnp.split(slots.vectors, 2, axis=-1)
            return mean, log_scale, prior
        return slots.vectors, slots.extras["log_scale"], prior

    def _cut(self, state: State, first: State) -> State:
        found = cut(state, first if self.config.gradient == "bilevel" else None)
        return found if self.config.cut_prior else (*found[:2], state[2])

    def _round(
        self,
        k: Float[Array, "b n c"],
        v: Float[Array, "b n c"],
        state: State,
        active: Bool[Array, "b k"] | None,
        mask: Bool[Array, "b n"] | None,
    ) -> tuple[Float[Array, "b k n"], State]:
        config = self.config
        mean, log_scale, prior = state
        joined = jnp.concatenate([mean, log_scale.astype(mean.dtype)], axis=-1)
        mean, log_scale = jnp.split(self.norm_slots(joined), 2, axis=-1)
        scale = self.width**-0.5 if config.distance_scale == "width" else 1.0
        logits = component_logits(
            k,
            self.query(mean),
            self.query(log_scale),
            prior,
            normal=config.density == "normal",
            scale=scale,
            epsilon=config.epsilon,
        )
        attention = compete(logits, active)
        if config.prior == "counts":
            prior = mixing_weights(attention, mask)
        weights = token_weights(attention, mask, _TINY)
        average = jnp.einsum("bkn,bnc->bkc", weights.astype(v.dtype), v)
        if self.gru is None or self.mlp is None or self.norm_mlp is None:
            mean = average
        else:
            mean = self.gru(mean, average)
            mean = mean + self.mlp(self.norm_mlp(mean))
        return attention, (mean, log_spread(v, weights, mean, config.epsilon), prior)


def component_logits(
    x: Float[Array, "b n c"],
    mean: Float[Array, "b k c"],
    log_scale: Float[Array, "b k c"],
    prior: Float[Array, "b k"],
    *,
    normal: bool,
    scale: float,
    epsilon: float,
) -> Float[Array, "b k n"]:
    """Logarithm of each component's share of each point's density, in float32.

    d²_kn = scale · Σ_c (x_n - mean_k)²_c / exp(2 log_scale_k)_c, multiplied out, so that no array
    of K·N·C numbers is made.

    Args:
        x: points.
        mean: of the components.
        log_scale: logarithms of their standard deviations.
        prior: their mixing weights.
        normal: log N(x; mean, scale) up to a constant; else log(exp(-d²) + epsilon).
        scale: factor of the squared distances.
        epsilon: density that a point has far from everything; not used where `normal`.
    """
    dtype = precise(x)
    # Distances do not change with the origin; numbers near zero keep more of their digits.
    origin = x.mean(axis=1, keepdims=True)
    x, mean, log_scale = ((x - origin).astype(dtype), (mean - origin).astype(dtype), log_scale)
    log_scale = log_scale.astype(dtype)
    precision = scale * jnp.exp(-2 * log_scale)
    distance = (
        jnp.einsum("bnc,bkc->bkn", jnp.square(x), precision)
        - 2 * jnp.einsum("bnc,bkc->bkn", x, mean * precision)
        + (jnp.square(mean) * precision).sum(axis=-1)[..., None]
    )
    distance = jnp.maximum(distance, 0)
    log_prior = jnp.log(jnp.maximum(prior, _TINY).astype(dtype))[..., None]
    if normal:
        return log_prior - distance / 2 - log_scale.sum(axis=-1)[..., None]
    return log_prior + jnp.logaddexp(-distance, jnp.log(epsilon).astype(dtype))


def mixing_weights(
    attention: Float[Array, "b k n"], mask: Bool[Array, "b n"] | None
) -> Float[Array, "b k"]:
    """Mean responsibility over the tokens that exist."""
    if mask is None:
        return attention.mean(axis=-1)
    present = mask[:, None].astype(attention.dtype)
    return (attention * present).sum(axis=-1) / jnp.maximum(present.sum(axis=-1), 1)


def log_spread(
    x: Float[Array, "b n c"],
    weights: Float[Array, "b k n"],
    mean: Float[Array, "b k c"],
    epsilon: float,
) -> Float[Array, "b k c"]:
    """½ log(Σ_n w_kn (x_n - mean_k)² + epsilon) per channel in float32; weights sum to 1 over n."""
    dtype = precise(x)
    origin = x.mean(axis=1, keepdims=True)  # as in `component_logits`
    x, mean = (x - origin).astype(dtype), (mean - origin).astype(dtype)
    weights = weights.astype(dtype)
    first = jnp.einsum("bkn,bnc->bkc", weights, x)
    second = jnp.einsum("bkn,bnc->bkc", weights, jnp.square(x))
    mass = weights.sum(axis=-1, keepdims=True)
    variance = second - mean * (2 * first - mass * mean)
    return jnp.log(jnp.maximum(variance, 0) + epsilon) / 2


class FirstComponents(nnx.Module):
    """A transformer over the tokens and two learned ones, which become the law of the components.

    Parameters: `mean`, `log_scale` [D] (the learned tokens), `norm`, `blocks`, `mean_head`,
    `log_scale_head`.
    """

    def __init__(
        self,
        config: SlotMixtureConfig,
        feature_dim: int,
        width: int,
        hidden: int,
        *,
        rngs: nnx.Rngs,
    ):
        limit = (6 / (2 * feature_dim)) ** 0.5

        def head() -> MLP:
            return MLP(feature_dim, hidden, 2 * width, kernel_init=uniform, rngs=rngs)

        shape = (feature_dim,)
        self.mean = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.log_scale = nnx.Param(
            jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit)
        )
        self.norm = nnx.LayerNorm(feature_dim, epsilon=config.layer_norm_epsilon, rngs=rngs)
        self.blocks = nnx.List(
            [Block(config, feature_dim, rngs=rngs) for _ in range(config.transformer_depth)]
        )
        self.mean_head, self.log_scale_head = head(), head()

    def __call__(
        self, tokens: Tokens, num_slots: int, keys: Key[Array, "b"], *, train: bool
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b k c"], Float[Array, "b k c"]]:
        """The tokens it makes; first means and logarithms of standard deviations."""
        noise_keys, drop_keys = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
        x = tokens.features
        own = jnp.stack([self.mean[...], self.log_scale[...]])[None].astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(own, (len(x), *own.shape[1:])), x], axis=1)
        mask = tokens.mask
        if mask is not None:
            mask = jnp.pad(mask, ((0, 0), (2, 0)), constant_values=True)
        x = self.norm(x)
        for number, block in enumerate(self.blocks):
            seeds = jax.vmap(lambda key, i=number: jax.random.fold_in(key, i))(drop_keys)
            x = block(x, mask, seeds if train else None)
        mean, log_scale = self.mean_head(x[:, 0]), self.log_scale_head(x[:, 1])
        shape = (num_slots, mean.shape[-1])
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(noise_keys).astype(x.dtype)
        components = mean[:, None] + jnp.exp(log_scale)[:, None] * noise
        mean, log_scale = jnp.split(components, 2, axis=-1)
        return x[:, 2:], mean, log_scale


class Block(nnx.Module):
    """Two self-attentions and a perceptron, each after a norm and added to what it got.

    Parameters: `norms`, `first`, `second` (attentions), `widen`, `narrow`.
    """

    def __init__(self, config: SlotMixtureConfig, features: int, *, rngs: nnx.Rngs):
        def attention() -> SelfAttention:
            return SelfAttention(features, config.transformer_heads, kernel_init=uniform, rngs=rngs)

        epsilon = config.layer_norm_epsilon
        self.rate = config.transformer_dropout
        self.norms = nnx.List(
            [nnx.LayerNorm(features, epsilon=epsilon, rngs=rngs) for _ in range(3)]
        )
        self.first, self.second = attention(), attention()
        self.widen = nnx.Linear(features, 4 * features, kernel_init=uniform, rngs=rngs)
        self.narrow = nnx.Linear(4 * features, features, kernel_init=uniform, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None,
        keys: Key[Array, "b"] | None,
    ) -> Float[Array, "b n d"]:
        """One block; with keys parts of it are dropped."""

        def drop(x: Array, number: int) -> Array:
            if keys is None:
                return x
            own = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
            return dropout(x, own, self.rate)

        norm_first, norm_second, norm_last = self.norms
        x = x + drop(self.first(norm_first(x), mask), 0)
        x = x + drop(self.second(norm_second(x), mask), 1)
        hidden = jax.nn.gelu(self.widen(norm_last(x)), approximate=False)
        return x + self.narrow(drop(hidden, 2))
