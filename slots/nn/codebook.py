"""Nearest-key look-up in a table whose keys follow by moving averages."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from slots.nn.precision import precise

Lookup = Literal["cosine", "euclidean"]

Table = dict[str, Array]
"""`keys` [M,C], and the moving averages they follow: `counts` [M] and `sums` [M,C]."""


def fresh_table(keys: Float[Array, "m c"]) -> Table:
    """A table at its beginning.

    Counts start at 1 and sums at the keys: keys stay where they are until something falls to them.
    """
    return {"keys": keys, "counts": jnp.ones(len(keys)), "sums": keys}


def distances(
    features: Float[Array, "*b c"], keys: Float[Array, "m c"], lookup: Lookup
) -> Float[Array, "*b m"]:
    """Squared distance, or angle over a turn from 0 (parallel or opposite) to ¼ (orthogonal)."""
    dtype = precise(features)
    features, keys = features.astype(dtype), keys.astype(dtype)
    if lookup == "euclidean":
        products = features @ keys.T
        squares = jnp.square(keys).sum(-1)[(None,) * (features.ndim - 1)]
        return jnp.square(features).sum(-1, keepdims=True) + squares - 2 * products

    def unit(x: Array) -> Array:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    cosine = jnp.abs(unit(features) @ unit(keys).T)
    return jnp.arccos(jnp.minimum(cosine, 0.99999)) / (2 * math.pi)


def follow(
    table: Table,
    features: Float[Array, "b k c"],
    codes: Int[Array, "b k"],
    present: Bool[Array, "b k"],
    *,
    decay: float,
    epsilon: float,
) -> Table:
    """Moves each key towards the mean of the features that fell to it (van den Oord et al. 2017).

    n ← γ n + (1-γ) Σ 1, made a little more even at the same total (Laplace); w ← γ w + (1-γ) Σ f;
    key = w / n.
    """
    keys = table["keys"]
    chosen = _chosen(codes, present, len(keys)).astype(keys.dtype)
    features = jax.lax.stop_gradient(features).astype(keys.dtype)
    counts = decay * table["counts"] + (1 - decay) * chosen.sum(axis=(0, 1))
    total = counts.sum()
    counts = (counts + epsilon) / (total + len(keys) * epsilon) * total
    sums = decay * table["sums"] + (1 - decay) * jnp.einsum("bkm,bkc->mc", chosen, features)
    return {"keys": sums / counts[:, None], "counts": counts, "sums": sums}


def restart(
    table: Table,
    features: Float[Array, "b k c"],
    present: Bool[Array, "b k"],
    key: Key[Array, ""],
    *,
    below: float,
) -> Table:
    """Puts keys whose count fell below `below` where the batch's features are.

    They are drawn by the features' mean and spread, and start with a count of 1.
    """
    weights = present[..., None].astype(features.dtype)
    total = jnp.maximum(weights.sum(), 1)
    mean = (weights * features).sum(axis=(0, 1)) / total
    spread = jnp.sqrt((weights * jnp.square(features - mean[None, None])).sum(axis=(0, 1)) / total)
    noise = jax.random.normal(key, table["keys"].shape)
    drawn = jax.lax.stop_gradient(mean[None] + spread[None] * noise).astype(table["keys"].dtype)
    dead = table["counts"] < below
    keys = jnp.where(dead[:, None], drawn, table["keys"])
    return {
        "keys": keys,
        "counts": jnp.where(dead, 1.0, table["counts"]),
        "sums": jnp.where(dead[:, None], drawn, table["sums"]),
    }


def perplexity(
    codes: Int[Array, "b k"], size: int, present: Bool[Array, "b k"] | None = None
) -> Float[Array, ""]:
    """Exp of the entropy of the shares of the codes: from 1 (one code) to `size` (all alike).

    Only those that are `present` count, where that is given; NaN without any.
    """
    if present is None:
        present = jnp.ones(codes.shape, bool)
    chosen = _chosen(codes, present, size).sum(axis=(0, 1))
    shares = chosen / chosen.sum()
    return jnp.exp(jax.scipy.special.entr(shares).sum())


def _chosen(
    codes: Int[Array, "b k"], present: Bool[Array, "b k"], size: int
) -> Float[Array, "b k m"]:
    """One-hot codes; zeros for what is not there."""
    return jnp.where(present[..., None], jax.nn.one_hot(codes, size), 0)
