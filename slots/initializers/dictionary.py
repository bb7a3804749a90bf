"""Grounded slot dictionary (CoSA: Kori et al., ICLR 2024): first slots chosen by the picture."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key
from typing_extensions import override

from slots.config import ConfigError
from slots.initializers.base import FirstSlots, Initializer, InitializerConfig, Variables
from slots.nn import MLP, EntryNetworks, precise, uniform
from slots.nn import Initializer as KernelLaw
from slots.nn.codebook import (
    Table,
    distances,
    follow,
    fresh_table,
    perplexity,
    restart,
)
from slots.nn.spectrum import repetitions, similarity_spectrum
from slots.types import Slots, Tokens, noun


@dataclasses.dataclass(frozen=True, kw_only=True)
class DictionaryConfig(InitializerConfig):
    """Slots are drawn from Gaussians of a learned dictionary, looked up by what the tokens show.

    Eigenvectors of the tokens' similarities sum up what is in a picture, each for one kind of
    thing; each is looked up by its nearest key. Keys follow what falls to them by moving averages
    (they are variables, not parameters). The look-up itself has no gradient; slots' Gaussians are
    trained through the slot module, unless that cuts its first slots off (`gradient="last"`), so
    `bilevel` or `full` goes with this initializer.

    Differs from the released code, whose text and whose description differ too
    (`values="network"` is the release): eigenvectors get one sign each; slots that share an entry
    are drawn apart (copies would stay equal); counts of keys start at 1; the number of things is
    each picture's own, unless `estimate` says otherwise.
    """

    size: int = 64
    """Entries M."""
    key_dim: int = 32
    lookup: Literal["cosine", "euclidean", "gumbel"] = "cosine"
    """Nearest by angle, whatever the sign; by distance; or a draw from a categorical law of logits,
    passed straight through."""
    values: Literal["gaussian", "network"] = "gaussian"
    """`gaussian`: learned mean and variance per entry. `network`: as released, a fixed Gaussian per
    entry through two ReLU layers of its own."""
    count: Literal["all", "estimated"] = "all"
    """`all`: every slot is used; what covers many tokens gets several. `estimated`: only as many as
    the picture has kinds of things (`Slots.active`)."""
    estimate: Literal["picture", "batch"] = "picture"
    """Whose number of things decides: each picture's own, or the batch's largest, as released (a
    picture's slots then depend on what else is in the batch)."""
    least: int = 3
    """Fewest things a picture is said to have."""
    decay: float = 0.999
    """Of the moving averages that keys follow."""
    decay_epsilon: float = 1e-5
    """How much counts are evened out per update."""
    restart_below: float = 0.0
    """Keys whose count falls below it are put where the batch's properties lie; 0: never, as in
    all published runs."""
    gumbel_temperature: float = 2.0

    def __post_init__(self) -> None:
        for name in ("size", "key_dim", "least"):
            if getattr(self, name) < 1:
                raise ConfigError(f"initializer.{name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.decay < 1:
            raise ConfigError(f"initializer.decay={self.decay} must be from 0 to below 1.")
        if self.gumbel_temperature <= 0:
            raise ConfigError(
                f"initializer.gumbel_temperature={self.gumbel_temperature} must be above 0."
            )

    @override
    def make(
        self, *, num_slots: int, slot_dim: int, feature_dim: int, content_dim: int, rngs: nnx.Rngs
    ) -> "Dictionary":
        del feature_dim  # it looks at content, which knows no places
        return Dictionary(self, num_slots, slot_dim, content_dim, rngs=rngs)


class Dictionary(Initializer):
    """First slots from the entries of a table that the picture's own properties fall to.

    Parameters: `project_in`, `norm_in` (properties to keys), `project_out`, `norm_out` (keys to
    properties), `mean`, `log_variance` [M,S] or `network`, and `logits` for the Gumbel look-up.
    Variables: `table`, and with a network the `mean` and `log_variance` of what goes through it.
    """

    def __init__(
        self,
        config: DictionaryConfig,
        num_slots: int,
        slot_dim: int,
        content_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        def norm(features: int) -> nnx.LayerNorm:
            return nnx.LayerNorm(features, epsilon=1e-5, rngs=rngs)

        def mlp(inputs: int, outputs: int) -> MLP:
            return MLP(inputs, content_dim, outputs, kernel_init=uniform, rngs=rngs)

        self.config, self.num_slots, self.slot_dim = config, num_slots, slot_dim
        self.project_in, self.norm_in = mlp(content_dim, config.key_dim), norm(config.key_dim)
        self.project_out, self.norm_out = mlp(config.key_dim, content_dim), norm(content_dim)
        self.logits = (
            nnx.Linear(config.key_dim, config.size, kernel_init=uniform, rngs=rngs)
            if config.lookup == "gumbel"
            else None
        )
        pair, gaussian = (config.size, slot_dim), config.values == "gaussian"
        self.mean = nnx.Param(_sphere(rngs.params(), pair)) if gaussian else None
        law = _bounded(slot_dim)
        self.log_variance = nnx.Param(law(rngs.params(), pair)) if gaussian else None
        self.network = (
            None
            if gaussian
            else EntryNetworks(
                config.size,
                *(slot_dim,) * 3,
                kernel_init=_bounded(slot_dim**2),  # the released code's fan
                bias_init=law,
                rngs=rngs,
            )
        )

    @property
    @override
    def num_entries(self) -> int:
        return self.config.size

    @override
    def init_variables(self, key: Key[Array, ""]) -> Variables:
        config = self.config
        keys_key, mean_key, variance_key = jax.random.split(key, 3)
        shape = (config.size, config.key_dim)
        make = _sphere if config.lookup == "cosine" else jax.random.normal
        variables: Variables = {"table": fresh_table(make(keys_key, shape))}
        if self.network is not None:  # a Gaussian per entry that nothing trains
            pair = (config.size, self.slot_dim)
            variables["mean"] = _sphere(mean_key, pair)
            variables["log_variance"] = _bounded(self.slot_dim)(variance_key, pair)
        return variables

    @override
    def __call__(
        self, tokens: Tokens, keys: Key[Array, "b"], variables: Variables, *, train: bool
    ) -> tuple[FirstSlots, Variables]:
        config, table = self.config, variables["table"]
        properties, sizes = self.properties(tokens)
        if config.estimate == "batch":  # rows fall, so their maximum has the largest counts
            sizes = jnp.broadcast_to(sizes.max(axis=0, keepdims=True), sizes.shape)
        count = jnp.maximum((sizes > 0).sum(axis=-1), config.least)
        count = jnp.minimum(count, properties.shape[1])
        present = jnp.arange(properties.shape[1])[None] < count[:, None]
        value_keys, code_keys = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
        found = self.look_up(properties, table, code_keys, train=train)
        losses = {"dictionary": self._loss(found, properties, present)}
        if train:
            table = follow(
                table,
                found.features,
                found.codes,
                present,
                decay=config.decay,
                epsilon=config.decay_epsilon,
            )
            if config.restart_below:
                table = restart(
                    table, found.features, present, code_keys[0], below=config.restart_below
                )
        entries = repetitions(sizes, count, self.num_slots)
        codes = jnp.take_along_axis(found.codes, entries, axis=1)
        slots = Slots(vectors=self.draw(codes, value_keys, variables).astype(tokens.features.dtype))
        if config.count == "estimated":
            number = jnp.arange(self.num_slots)[None]
            slots = dataclasses.replace(slots, active=number < count[:, None])
        diagnostics = {
            "codes": codes,
            "count": count,
            "perplexity": perplexity(found.codes, config.size, present),
        }
        return FirstSlots(slots=slots, losses=losses, diagnostics=diagnostics), {
            **variables,
            "table": table,
        }

    def properties(self, tokens: Tokens) -> tuple[Float[Array, "b m c"], Int[Array, "b n"]]:
        """What the picture is made of: a sum of tokens per kind of thing, largest kind first.

        Returns:
            As many properties as there are slots (or tokens, or channels, if those are fewer), and
            all eigenvalues, rounded to integers (half to even): tokens per kind. No gradient flows.
        """
        assert tokens.content is not None  # every encoder gives it
        content = jax.lax.stop_gradient(tokens.content)
        count = min(self.num_slots, *content.shape[1:])
        values, vectors = similarity_spectrum(content, count, tokens.mask)
        summed = jnp.einsum("bmn,bnc->bmc", vectors, content.astype(vectors.dtype))
        return summed, jnp.round(values).astype(jnp.int32)

    def look_up(
        self,
        properties: Float[Array, "b m c"],
        table: Table,
        keys: Key[Array, "b"],
        *,
        train: bool,
        allowed: Bool[Array, "entries"] | None = None,
    ) -> "Found":
        """The entry of each property; only among those `allowed`, where that is given."""
        config = self.config
        features = self.norm_in(self.project_in(properties))
        if config.lookup == "gumbel":
            assert self.logits is not None
            logits = self.logits(features)
        else:
            logits = -distances(features, jax.lax.stop_gradient(table["keys"]), config.lookup)
        if allowed is not None:
            logits = jnp.where(allowed[None, None], logits, -jnp.inf)
        if self.logits is not None and train:
            shape = logits.shape[1:]
            noise = jax.vmap(lambda key: jax.random.gumbel(key, shape))(keys)
            logits = (logits + noise) / config.gumbel_temperature
        codes = jnp.argmax(logits, axis=-1)
        chosen = jax.nn.one_hot(codes, config.size, dtype=features.dtype)
        if self.logits is not None:
            soft = jax.nn.softmax(logits, axis=-1)
            chosen = chosen + soft - jax.lax.stop_gradient(soft)
        return Found(
            features=features, codes=codes, quantized=self.express(chosen, table), logits=logits
        )

    def express(self, chosen: Float[Array, "b m entries"], table: Table) -> Float[Array, "b m c"]:
        """The properties that entries stand for: their keys, projected back.

        Keys get no gradient: they follow moving averages.
        """
        keys = jax.lax.stop_gradient(table["keys"])
        return self.norm_out(self.project_out(chosen @ keys.astype(chosen.dtype)))

    def draw(
        self, codes: Int[Array, "b k"], keys: Key[Array, "b"], variables: Variables
    ) -> Float[Array, "b k s"]:
        """A slot from the Gaussian of each code, through the entry's network where it has one."""
        shape = (codes.shape[1], self.slot_dim)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        if self.mean is not None and self.log_variance is not None:
            mean, log_variance = self.mean[...], self.log_variance[...]
        else:
            mean, log_variance = variables["mean"], variables["log_variance"]
        slots = mean[codes] + jnp.exp(log_variance[codes] / 2) * noise.astype(mean.dtype)
        return slots if self.network is None else self.network(slots, codes)

    def _loss(
        self,
        found: "Found",
        properties: Float[Array, "b m c"],
        present: Bool[Array, "b m"],
    ) -> Float[Array, "b"]:
        """How far entries are from what fell to them, which trains the way back to properties.

        For the Gumbel look-up it is the divergence of the logits' law from the even one.
        """
        if self.logits is not None:
            share = jax.nn.softmax(found.logits, axis=-1)
            each = (share * jnp.log(share * self.config.size + 1e-10)).sum(axis=-1)
        else:
            each = mismatch(found.quantized, properties, self.config.lookup)
        weights = present.astype(each.dtype)
        return (each * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)


@noun
class Found:
    """What the look-up found for each of M properties."""

    features: Float[Array, "b m c"]
    """Properties as keys are."""
    codes: Int[Array, "b m"]
    """Entries."""
    quantized: Float[Array, "b m d"]
    """What the entries stand for, as properties are."""
    logits: Float[Array, "b m entries"]
    """Minus the distance to each key, or the (noisy) logits of the Gumbel look-up."""


def mismatch(
    quantized: Float[Array, "b m c"], properties: Float[Array, "b m c"], lookup: str
) -> Float[Array, "b m"]:
    """Of entries and properties in float32: 2(1 - cos), or the mean squared difference.

    Its gradient goes to the entries alone.
    """
    dtype = precise(quantized)
    x, y = quantized.astype(dtype), jax.lax.stop_gradient(properties).astype(dtype)
    if lookup == "euclidean":
        return jnp.square(x - y).mean(axis=-1)
    lengths = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1)
    return 2 * (1 - (x * y).sum(axis=-1) / jnp.maximum(lengths, 1e-8))


def _sphere(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "m c"]:
    """Points on the unit sphere."""
    x = jax.random.normal(key, shape)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _bounded(fan: int) -> KernelLaw:
    """Kaiming's uniform law, ±√(6 / fan)."""
    limit = (6 / fan) ** 0.5

    def law(key: Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        return jax.random.uniform(key, shape, dtype, minval=-limit, maxval=limit)

    return law
