"""Slot attention by optimal transport: Sinkhorn, exact, MESH (Zhang et al., ICML 2023)."""

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
    cut,
    per_iteration,
)
from slots.nn import MLP, GRUCell, precise, uniform
from slots.nn.sinkhorn import exact_plan, minimize_entropy, sinkhorn
from slots.types import Grouping, Slots, Tokens

_OFF = -1e9
"""Logit of a slot or token that takes no part; its mass is zero."""

_SMALL = 1e-12
"""Length below which a vector is not made longer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MESHConfig(SlotModuleConfig):
    """Settings of the transport family; the defaults are the released ones for pictures.

    For videos the release takes `distance="cosine"`, `cost_scale=6`, `mass=18`.
    """

    plan: Literal["mesh", "sinkhorn", "emd"] = "mesh"
    """Attention of a round: the plan whose entropy was made small, which tells equal slots apart;
    the entropic plan; or the exact one, solved on the host and without gradient (or with that of
    the entropic one, see `emd_gradient`)."""
    distance: Literal["euclidean", "cosine", "dot"] = "euclidean"
    """Cost between query and key: ‖k - q‖, 1 - cos(k, q), or -⟨k, q⟩ width^-½ as in Slot
    Attention."""
    cost_scale: float = 1.0
    """Factor of the costs."""
    mass: float | None = None
    """Of all tokens, and of all slots; None: the number of slots, a mean of 1 each. (What a slot
    reads is not divided by its mass: a slot with little changes little.)"""
    temperature: float = 1.0
    """Of a round's plan; while entropy is made small it is 1."""
    sweeps: int = 5
    """Of Sinkhorn's algorithm for a round's plan."""
    mesh_steps: int = 4
    """Steps towards less entropy per round."""
    mesh_sweeps: int = 5
    """Of Sinkhorn's algorithm in each of them."""
    mesh_rate: float = 8.0
    """How far a step moves the costs, in Frobenius norm per picture."""
    learn_rate: bool = False
    """Makes `mesh_rate` the first value of a parameter."""
    warm_start: bool = True
    """Each plan of a round starts from the potentials of the one before."""
    noise_scale: float = 1e-3
    """Of the noise on the costs, drawn once per call, at test time too: what decides between equal
    slots."""
    emd_gradient: Literal["none", "entropic"] = "none"
    """`entropic`: the exact plan with the gradient of the entropic one. The publication's own rule
    is not known."""
    mlp_hidden: int = 128
    """Width of the residual MLP after the GRU; 0 leaves it out."""
    marginal_hidden: int = 128
    """Width of the perceptrons that say how much mass slots and tokens have."""
    layer_norm_epsilon: float = 1e-5
    gradient: Literal["full", "bilevel", "last", "each"] = "full"
    """`full`: through all rounds; `last`, `bilevel`: as in Slot Attention; `each`: slots are cut
    off before every round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "cost_scale", "sweeps", "mesh_sweeps"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"module.{name}={getattr(self, name)} must be above 0.")
        for name in ("mesh_steps", "noise_scale"):
            if getattr(self, name) < 0:
                raise ConfigError(f"module.{name}={getattr(self, name)} must be 0 or more.")
        if self.mass is not None and self.mass <= 0:
            raise ConfigError(f"module.mass={self.mass} must be above 0.")

    @override
    def make(
        self, *, feature_dim: int, slot_dim: int, scale_factor: float, rngs: nnx.Rngs
    ) -> "MESH":
        del scale_factor  # no frames here
        return MESH(self, feature_dim, slot_dim, rngs=rngs)


class MESH(SlotModule):
    """Rounds of transport between tokens and slots, whose masses are learned, and a GRU.

    Parameters: `norm_inputs`, `norm_slots`, `norm_mlp`, `query`, `key`, `value`, `gru`, `mlp`,
    `slot_mass`, `token_mass` (perceptrons to one number, without a bias at its end), and `rate`
    where it is learned.
    """

    def __init__(self, config: MESHConfig, feature_dim: int, slot_dim: int, *, rngs: nnx.Rngs):
        def norm(features: int) -> nnx.LayerNorm:
            return nnx.LayerNorm(features, epsilon=config.layer_norm_epsilon, rngs=rngs)

        def linear(features: int) -> nnx.Linear:
            return nnx.Linear(features, slot_dim, use_bias=False, kernel_init=uniform, rngs=rngs)

        def mass(features: int) -> MLP:
            return MLP(
                features,
                config.marginal_hidden,
                1,
                final_bias=False,
                kernel_init=uniform,
                rngs=rngs,
            )

        self.config = config
        self.norm_inputs, self.norm_slots = norm(feature_dim), norm(slot_dim)
        self.query, self.key, self.value = (
            linear(slot_dim),
            linear(feature_dim),
            linear(feature_dim),
        )
        self.gru = GRUCell(slot_dim, slot_dim, kernel_init=uniform, rngs=rngs)
        self.norm_mlp = norm(slot_dim) if config.mlp_hidden else None
        self.mlp = (
            MLP(slot_dim, config.mlp_hidden, slot_dim, kernel_init=uniform, rngs=rngs)
            if config.mlp_hidden
            else None
        )
        self.slot_mass, self.token_mass = mass(slot_dim), mass(feature_dim)
        self.rate = nnx.Param(jnp.full(1, config.mesh_rate)) if config.learn_rate else None

    @override
    def __call__(
        self, tokens: Tokens, slots: Slots, keys: Key[Array, "b"], *, train: bool
    ) -> Grouping:
        config = self.config
        x = self.norm_inputs(tokens.features)
        k, v = self.key(x), self.value(x)
        vectors = first = slots.vectors
        mass = config.mass or vectors.shape[1]
        token_mass = mass * _shares(self.token_mass(x), tokens.mask)
        shape = (vectors.shape[1], k.shape[1])
        noise = None
        if config.plan == "mesh" and config.noise_scale:
            noise = config.noise_scale * jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        rounds = config.iterations(train)
        attentions, plan, slot_mass = [], None, None
        for i in range(rounds):
            if config.gradient == "each" or (i == rounds - 1 and config.gradient != "full"):
                vectors = cut(vectors, first if config.gradient == "bilevel" else None)
            normed = self.norm_slots(vectors)
            cost = config.cost_scale * self._distance(self.query(normed), k)
            slot_mass = mass * _shares(self.slot_mass(normed), slots.active)
            plan = self._plan(cost, slot_mass, token_mass, noise)
            attentions.append(_attention(plan, slots.active))
            vectors = self._update(vectors, jnp.einsum("bkn,bnd->bkd", plan.astype(v.dtype), v))
        attention = per_iteration(attentions, tokens, slots)
        diagnostics = {"attention_per_iteration": attention}
        if plan is not None and slot_mass is not None:
            diagnostics |= {"plan": plan, "slot_mass": slot_mass, "token_mass": token_mass}
        return Grouping(
            slots=dataclasses.replace(slots, vectors=vectors),
            attention=attention[:, -1],
            diagnostics=diagnostics,
        )

    def _distance(
        self, q: Float[Array, "b k s"], k: Float[Array, "b n s"]
    ) -> Float[Array, "b k n"]:
        """Cost of each pair in float32."""
        dtype = precise(q)
        q, k = q.astype(dtype), k.astype(dtype)
        kind = self.config.distance
        if kind == "cosine":
            q, k = (x / jnp.maximum(_length(x), _SMALL) for x in (q, k))
        products = jnp.einsum("bks,bns->bkn", q, k)
        if kind == "cosine":
            return 1 - products
        if kind == "dot":
            return -products * q.shape[-1] ** -0.5
        squared = jnp.square(q).sum(-1)[..., None] + jnp.square(k).sum(-1)[:, None] - 2 * products
        return _root(squared)

    def _plan(
        self,
        cost: Float[Array, "b k n"],
        slot_mass: Float[Array, "b k"],
        token_mass: Float[Array, "b n"],
        noise: Float[Array, "b k n"] | None,
    ) -> Float[Array, "b k n"]:
        config, start = self.config, None
        if config.plan == "mesh":
            cost, start = minimize_entropy(
                cost if noise is None else cost + noise.astype(cost.dtype),
                slot_mass,
                token_mass,
                steps=config.mesh_steps,
                learning_rate=config.mesh_rate if self.rate is None else self.rate[...][0],
                sweeps=config.mesh_sweeps,
                warm_start=config.warm_start,
            )
        if config.plan == "emd" and config.emd_gradient == "none":
            return exact_plan(cost, slot_mass, token_mass)
        plan, _, _ = sinkhorn(
            cost,
            slot_mass,
            token_mass,
            sweeps=config.sweeps,
            temperature=config.temperature,
            start=start,
        )
        if config.plan == "emd":
            return plan + jax.lax.stop_gradient(exact_plan(cost, slot_mass, token_mass) - plan)
        return plan

    def _update(
        self, vectors: Float[Array, "b k s"], read: Float[Array, "b k s"]
    ) -> Float[Array, "b k s"]:
        vectors = self.gru(vectors, read)
        if self.mlp is not None and self.norm_mlp is not None:
            vectors = vectors + self.mlp(self.norm_mlp(vectors))
        return vectors


def _shares(
    logits: Float[Array, "b m 1"], present: Bool[Array, "b m"] | None
) -> Float[Array, "b m"]:
    """Shares of those that take part, in float32; they sum to 1."""
    logits = logits[..., 0].astype(precise(logits))
    return jax.nn.softmax(logits if present is None else jnp.where(present, logits, _OFF), axis=-1)


def _attention(
    plan: Float[Array, "b k n"], active: Bool[Array, "b k"] | None
) -> Float[Array, "b k n"]:
    """How each token divides over the slots, whatever its mass; equally where it has none."""
    count = plan.shape[1]
    present = jnp.ones(plan.shape[:2], bool) if active is None else active
    number = jnp.maximum(present.sum(axis=1, keepdims=True), 1)
    even = present.astype(plan.dtype) / number.astype(plan.dtype)
    total = plan.sum(axis=1, keepdims=True)
    least = 1e-25 * count
    return jnp.where(total > least, plan / jnp.maximum(total, least), even[..., None])


def _length(x: Float[Array, "*b s"]) -> Float[Array, "*b 1"]:
    return _root(jnp.square(x).sum(axis=-1, keepdims=True))


def _root(squared: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Square root whose gradient is 0 at 0, where that of the plain one is infinite."""
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)
