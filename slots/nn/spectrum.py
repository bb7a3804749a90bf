"""Eigenvectors of token similarities: what a picture is made of, and how many things there are."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from slots.nn.precision import precise


def similarity_spectrum(
    features: Float[Array, "b n c"], count: int, mask: Bool[Array, "b n"] | None = None
) -> tuple[Float[Array, "b m"], Float[Array, "b count n"]]:
    """Eigenvalues and leading eigenvectors of the cosine Gram matrix of tokens, in float32.

    The N×N matrix R̂ R̂ᵀ and the C×C matrix R̂ᵀ R̂ have the same eigenvalues above zero; the smaller
    one is decomposed. An eigenvalue is about the number of tokens of one kind; they sum to N.

    Args:
        features: R; each token's length plays no part.
        count: how many eigenvectors; at most min(N, C).
        mask: False where a token does not exist.

    Returns:
        All min(N, C) eigenvalues, largest first, and the first eigenvectors, of unit length, each
        with its entry of largest magnitude positive. No gradient flows.
    """
    x = jax.lax.stop_gradient(features).astype(precise(features))
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    if mask is not None:
        x = jnp.where(mask[..., None], x, 0)
    wide = x.shape[1] <= x.shape[2]
    matrix = jnp.einsum("bnc,bmc->bnm", x, x) if wide else jnp.einsum("bnc,bnd->bcd", x, x)
    values, vectors = jnp.linalg.eigh(matrix)
    values, vectors = values[:, ::-1], jnp.swapaxes(vectors[..., ::-1], 1, 2)[:, :count]
    if not wide:
        vectors = jnp.einsum("bkc,bnc->bkn", vectors, x)
        length = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = vectors / jnp.maximum(length, 1e-6)  # of an eigenvalue of zero nothing is left
    largest = jnp.argmax(jnp.abs(vectors), axis=-1, keepdims=True)
    sign = jnp.where(jnp.take_along_axis(vectors, largest, axis=-1) < 0, -1.0, 1.0)
    return values, vectors * sign.astype(vectors.dtype)


def repetitions(
    sizes: Int[Array, "b m"], count: Int[Array, "b"], num_slots: int
) -> Int[Array, "b k"]:
    """Which entry each slot takes, where there are more slots than entries.

    Entries come in order; then, for a size of 1, 2, …, those that are larger once more (but for the
    first one, unless it is the only one), so that what covers many tokens gets several slots. Where
    nothing is larger any more it starts again from the first.

    Args:
        sizes: rounded eigenvalues, largest first.
        count: how many entries there are.
        num_slots: K.

    Returns:
        Numbers of entries, below `count`.
    """
    levels = jnp.arange(1, num_slots + 1)
    larger = (sizes[:, None] > levels[None, :, None]).sum(axis=-1)  # [b,levels]
    start = jnp.where(larger > 1, 1, 0)
    number = jnp.arange(num_slots)
    first = number[None] < count[:, None]
    again = (number[None, None] >= start[..., None]) & (number[None, None] < larger[..., None])
    chosen = jnp.concatenate([first[:, None], again], axis=1).reshape(len(sizes), -1)
    order = jnp.argsort(~chosen, axis=1, stable=True)[:, :num_slots] % num_slots
    found = chosen.sum(axis=1, keepdims=True)
    return jnp.where(number[None] < found, order, (number[None] - found) % count[:, None])
