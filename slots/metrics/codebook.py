"""How a dictionary's keys and slots' masks differ from each other (CoSA: Kori et al. 2024)."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TINY = 1e-12
"""Least number that is divided by."""


def key_diversity(keys: Float[np.ndarray, "m c"]) -> float:
    """CoSA's codebook diversity: 1 - mean_i Var_j δ(κ_i, κ_j), δ the angle over a turn.

    δ takes parallel and opposite keys for equal (0) and orthogonal ones for farthest (¼). The
    variance is the unbiased one, which is our choice: the publication was not at hand. NaN for
    fewer than two keys.
    """
    keys = np.asarray(keys, np.float64)
    if len(keys) < 2:
        return math.nan
    unit = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
    angles = np.arccos(np.clip(np.abs(unit @ unit.T), 0, 1)) / (2 * math.pi)
    return float(1 - angles.var(axis=1, ddof=1).mean())


def mask_overlap(masks: Float[Array, "b k h w"]) -> Float[Array, "b"]:
    """CoSA's overlap of slots: a soft Dice of each pair, 0 where no two slots claim one place.

    Each mask is stretched to [0, 1] over the picture and compared with every other one, binarized
    at ½: 2 Σ a b / (Σ a + Σ b), averaged over ordered pairs; 0 for a pair of empty masks. The
    gradient goes through the stretched ones.

    Raises:
        ValueError: fewer than two slots.
    """
    count = masks.shape[1]
    if count < 2:
        raise ValueError(f"overlap is between slots; there must be two or more, got {count}.")
    flat = masks.reshape(*masks.shape[:2], -1).astype(jnp.float32)
    low, high = flat.min(axis=-1, keepdims=True), flat.max(axis=-1, keepdims=True)
    soft = (flat - low) / jnp.maximum(high - low, _TINY)
    hard = (flat >= 0.5).astype(jnp.float32)
    shared = 2 * jnp.einsum("bkn,bln->bkl", soft, hard)
    total = soft.sum(axis=-1)[:, :, None] + hard.sum(axis=-1)[:, None]
    others = 1 - jnp.eye(count)[None]
    dice = others * shared / jnp.maximum(total, _TINY)
    return dice.sum(axis=(1, 2)) / (count * (count - 1))
