"""Cheapest one-to-one assignments between two sets of vectors."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def pair_costs(
    found: Float[Array, "b k p"], target: Float[Array, "b m p"], difference: str = "huber"
) -> Float[Array, "b m k"]:
    """Mean over the numbers of each target's difference from each prediction, in float32."""
    found, target = found.astype(jnp.float32)[:, None], target.astype(jnp.float32)[:, :, None]
    if difference == "huber":
        return optax.losses.huber_loss(found, target).mean(axis=-1)
    return -(target * _log(found) + (1 - target) * _log(1 - found)).mean(axis=-1)


def _log(share: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Logarithm; of 0 it is -100, as in PyTorch, and has no gradient."""
    # Of a subnormal number the gradient is infinite, and some hardware takes it for 0.
    normal = share >= jnp.finfo(share.dtype).tiny
    return jnp.where(normal, jnp.log(jnp.where(normal, share, 1)), -100)


def match(
    cost: Float[Array, "b m k"],
) -> tuple[Int[Array, "b pairs"], Int[Array, "b pairs"]]:
    """Rows and columns of the cheapest assignment of each example; they carry no gradient.

    A cost that is not finite counts as a large one, so that the answer is an assignment even then.
    """
    cost = jnp.nan_to_num(jax.lax.stop_gradient(cost), nan=1e6, posinf=1e6, neginf=-1e6)
    return jax.vmap(optax.assignment.hungarian_algorithm)(cost)


def matched_cost(cost: Float[Array, "b m k"]) -> Float[Array, "b"]:
    """Sum over the pairs of the cheapest assignment; what is left over costs nothing."""
    rows, columns = match(cost)
    return jax.vmap(lambda c, i, j: c[i, j].sum())(cost, rows, columns)
