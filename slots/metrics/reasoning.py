"""What a model tells of scenes: their class, and what the slots that led to it stand for."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slots.nn.assignment import matched_cost, pair_costs


def accuracy(true: Int[Array, "b"], pred: Int[Array, "b"]) -> Float[Array, "b"]:
    """1 where the class is right, else 0; its mean is the accuracy.

    Args:
        true: classes.
        pred: predicted classes; -1 is never right.

    Returns:
        float32 [B].
    """
    return (true == pred).astype(jnp.float32)


def macro_f1(true: Int[np.ndarray, "n"], pred: Int[np.ndarray, "n"]) -> float:
    """Mean over classes of F1 = 2·hits / (true + predicted), of all scenes together.

    Classes that are never true are left out; to be predicted as one of them is a miss.

    Args:
        true: classes.
        pred: predicted classes; -1 is never right.

    Returns:
        A number in [0, 1]; NaN without a scene.
    """
    true, pred = np.asarray(true), np.asarray(pred)
    scores = []
    for one in np.unique(true):
        there, told = true == one, pred == one
        scores.append(2 * (there & told).sum() / (there.sum() + told.sum()))
    return float(np.mean(scores)) if scores else float("nan")


@jax.jit
def matched_huber_cost(
    found: Float[Array, "b k p"], target: Float[Array, "b r p"]
) -> Float[Array, "b"]:
    """HMC: Huber cost (δ = 1) of the cheapest one-to-one assignment (Kori et al. 2024).

    Mean over the P numbers, sum over matched pairs; what is left over on either side costs nothing.

    Args:
        found: predicted vectors of K slots.
        target: true vectors, rows of nothing included.

    Returns:
        float32 [B], 0 for a permutation of the truth; NaN where a prediction is not finite.
    """
    cost = pair_costs(found, target)
    return jnp.where(jnp.isfinite(cost).all(axis=(1, 2)), matched_cost(cost), jnp.nan)
