"""Features with position codes of their own for every slot, read without ever making them.

Invariant Slot Attention (Biza et al. 2023, arXiv 2302.04973) gives every slot k its own keys and
values E(x_n + r_kn W + b), r_kn the place of token n in the slot's frame and
E(z) = W₂ relu(W₁ LN(z) + b₁) + b₂. Made as they stand these are K·N vectors, each through two
matrix products; but

- r_kn has two numbers, so W₁ LN(z) is a token's part plus r_kn times a fixed 2×H matrix, divided by
  a deviation σ_kn that is a quadratic form of r_kn;
- as σ > 0, relu(u/σ + d) = relu(u + σd)/σ: the hidden layer is relu(A_n + c_kn U)/σ_kn with
  c = (r, σ), a sum of a shared row and three multiples of fixed ones;
- keys are only multiplied by queries, values only averaged, and both pass W₂ unhindered: W₂ is
  applied to the K queries and the K averages.

What is left per slot and token are H multiply-adds; the gradients are the same sums again. They
are taken slot by slot, so that no array of K·N·H numbers is ever stored.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from slots.nn.initial import lecun
from slots.nn.mlp import MLP
from slots.nn.precision import precise
from slots.types import noun


@noun
class Coded:
    """Features prepared for reading from many frames (M = 3 rows: y, x and σ)."""

    tokens: Float[Array, "b n h"]
    """A: hidden layer of the features alone, not divided by σ."""
    rows: Float[Array, "m h"]
    """U: hidden layer of a unit step in y and x, and W₁'s offset."""
    variance: Float[Array, "b n"]
    """Of the centred features."""
    covariance: Float[Array, "b n 2"]
    """Of the centred features with the rows of W."""
    gram: Float[Array, "2 2"]
    """Covariance of the rows of W."""


class GridEncoder(nnx.Module):
    """E(x + r W + b): features with the code of a place, through a pre-norm perceptron.

    Parameters: `projection` (2 → D), `norm`, `mlp` (D → H → D), LeCun-normal kernels.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        epsilon: float,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.projection = nnx.Linear(2, features, use_bias=use_bias, kernel_init=lecun, rngs=rngs)
        self.norm = nnx.LayerNorm(features, epsilon=epsilon, rngs=rngs)
        self.mlp = MLP(features, hidden, features, kernel_init=lecun, rngs=rngs)
        self.epsilon = epsilon

    def __call__(
        self, features: Float[Array, "*#b d"], places: Float[Array, "*#b 2"]
    ) -> Float[Array, "*#b d"]:
        """The codes themselves; leading axes broadcast."""
        code = self.projection(places.astype(features.dtype))
        return self.mlp(self.norm(features + code))

    def prepare(self, features: Float[Array, "b n d"]) -> Coded:
        """What all frames share."""
        dtype = precise(features)
        kernel = self.projection.kernel[...].astype(dtype)
        kernel = kernel - kernel.mean(axis=-1, keepdims=True)
        x = features.astype(dtype)
        if self.projection.bias is not None:
            x = x + _wide(self.projection.bias, 3).astype(dtype)
        x = x - x.mean(axis=-1, keepdims=True)
        first = self.mlp.first.kernel[...]
        gained = _wide(self.norm.scale, 1)[:, None] * first
        offset = _wide(self.norm.bias, 1) @ first + _wide(self.mlp.first.bias, 1)
        rows = jnp.concatenate([kernel.astype(gained.dtype) @ gained, offset[None]])
        return Coded(
            tokens=x.astype(features.dtype) @ gained,
            rows=rows,
            variance=jnp.square(x).mean(axis=-1),
            covariance=x @ kernel.T / x.shape[-1],
            gram=kernel @ kernel.T / x.shape[-1],
        )

    def scores(
        self, coded: Coded, places: Float[Array, "b k n 2"], queries: Float[Array, "b k d"]
    ) -> Float[Array, "b k n"]:
        """⟨query_k, code_kn⟩ in float32, from places seen by slot k."""
        coordinates, deviation = self._coordinates(coded, places)
        second = self.mlp.second
        weights = queries @ second.kernel[...].T
        sums = _scores(coded.tokens, coded.rows, coordinates, weights)
        constant = (queries * _wide(second.bias, 3)).sum(axis=-1, keepdims=True)
        return sums / deviation + constant.astype(sums.dtype)

    def averages(
        self, coded: Coded, places: Float[Array, "b k n 2"], weights: Float[Array, "b k n"]
    ) -> Float[Array, "b k d"]:
        """Σ_n weight_kn code_kn in the features' dtype, from places seen by slot k."""
        coordinates, deviation = self._coordinates(coded, places)
        sums = _averages(coded.tokens, coded.rows, coordinates, weights / deviation)
        second = self.mlp.second
        dtype = coded.tokens.dtype
        mass = weights.sum(axis=-1, keepdims=True).astype(dtype)
        return sums.astype(dtype) @ second.kernel[...] + mass * _wide(second.bias, 3)

    def _coordinates(
        self, coded: Coded, places: Float[Array, "b k n 2"]
    ) -> tuple[Float[Array, "b k n m"], Float[Array, "b k n"]]:
        """(r_y, r_x, σ) and σ = √(Var(x + r W + b) + ε) in float32."""
        y, x = places[..., 0], places[..., 1]
        gram, covariance = coded.gram, coded.covariance[:, None]
        variance = (
            coded.variance[:, None]
            + y * (2 * covariance[..., 0] + y * gram[0, 0] + 2 * x * gram[0, 1])
            + x * (2 * covariance[..., 1] + x * gram[1, 1])
        )
        deviation = jnp.sqrt(jnp.maximum(variance, 0) + self.epsilon)
        return jnp.stack([y, x, deviation], axis=-1), deviation


def _wide(param: nnx.Param[Array] | None, ndim: int) -> Array:
    """A vector of parameters with leading axes of length one."""
    assert param is not None  # layers here have their bias and their gain
    return jnp.expand_dims(param[...], range(ndim - 1))


def _hidden(
    tokens: Float[Array, "b n h"], rows: Float[Array, "m h"], coordinates: Float[Array, "b n m"]
) -> Float[Array, "b n h"]:
    """relu(A + c U) of one slot; multiplied out, a product over three numbers is no product."""
    x = tokens
    for m in range(len(rows)):
        x = x + coordinates[..., m, None].astype(tokens.dtype) * rows[m][None, None]
    return jax.nn.relu(x)


def _by_slot(x: Float[Array, "b k *rest"]) -> Float[Array, "k b *rest"]:
    return jnp.swapaxes(x, 0, 1)


def _each_slot(
    read: Callable[[Array, Array], Array],
    tokens: Array,
    rows: Array,
    coordinates: Array,
    by: Array,
) -> Array:
    """What `read` makes of every slot's hidden layer and its row of `by`."""

    def slot(_: None, each: tuple[Array, Array]) -> tuple[None, Array]:
        return None, read(_hidden(tokens, rows, each[0]), each[1])

    return _by_slot(jax.lax.scan(slot, None, (_by_slot(coordinates), _by_slot(by)))[1])


@jax.custom_vjp
def _scores(
    tokens: Float[Array, "b n h"],
    rows: Float[Array, "m h"],
    coordinates: Float[Array, "b k n m"],
    weights: Float[Array, "b k h"],
) -> Float[Array, "b k n"]:
    """Σ_h w_kh relu(A_n + c_kn U)_h in float32."""
    return _each_slot(_score, tokens, rows, coordinates, weights)


@jax.custom_vjp
def _averages(
    tokens: Float[Array, "b n h"],
    rows: Float[Array, "m h"],
    coordinates: Float[Array, "b k n m"],
    mass: Float[Array, "b k n"],
) -> Float[Array, "b k h"]:
    """Σ_n v_kn relu(A_n + c_kn U) in float32."""
    return _each_slot(_average, tokens, rows, coordinates, mass)


def _score(hidden: Float[Array, "b n h"], weights: Float[Array, "b h"]) -> Float[Array, "b n"]:
    return _contract("bnh,bh->bn", hidden, weights)


def _average(hidden: Float[Array, "b n h"], mass: Float[Array, "b n"]) -> Float[Array, "b h"]:
    return _contract("bnh,bn->bh", hidden, mass)


def _contract(subscripts: str, hidden: Array, other: Array) -> Array:
    other = other.astype(hidden.dtype)
    return jnp.einsum(subscripts, hidden, other, preferred_element_type=precise(hidden))


def _pull_back(
    layer: Sequence[Array],
    weights: Float[Array, "b k h"],
    mass: Float[Array, "b k n"],
    read: Callable[[Array, Array, Array], Array],
) -> tuple[Array, Array, Array, Array]:
    """Gradients of S = Σ_kn v_kn Σ_h w_kh relu(A_n + c_kn U)_h to A, U, c, and what `read` finds.

    S is linear in v and in w, and both functions above are derivatives of it: the upstream
    gradient of one is the argument of the other, and its own gradient is the other's value.

    Args:
        layer: A, U and c.
        weights: w.
        mass: v.
        read: from one slot's hidden layer, w and v, the gradient to w or v.
    """
    tokens, rows, coordinates = layer

    def slot(
        total: tuple[Array, Array], each: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        c, w, v = each
        hidden = _hidden(tokens, rows, c)
        inner = w[:, None].astype(hidden.dtype) * v[..., None].astype(hidden.dtype)
        inner = jnp.where(hidden > 0, inner, 0)
        total = (
            total[0] + inner.astype(total[0].dtype),
            total[1] + _contract("bnh,bnm->mh", inner, c),
        )
        return total, (_contract("bnh,mh->bnm", inner, rows), read(hidden, w, v))

    zeros = jnp.zeros(tokens.shape, precise(tokens)), jnp.zeros(rows.shape, precise(tokens))
    slots = _by_slot(coordinates), _by_slot(weights), _by_slot(mass)
    (to_tokens, to_rows), (to_coordinates, found) = jax.lax.scan(slot, zeros, slots)
    to_tokens, to_rows = to_tokens.astype(tokens.dtype), to_rows.astype(rows.dtype)
    return to_tokens, to_rows, _by_slot(to_coordinates), _by_slot(found)


def _scores_forward(*primals: Array) -> tuple[Array, tuple[Array, ...]]:
    return _scores(*primals), primals


def _scores_backward(primals: tuple[Array, ...], mass: Array) -> tuple[Array, ...]:
    *layer, weights = primals
    *to_layer, to_weights = _pull_back(
        layer, weights, mass, lambda hidden, w, v: _average(hidden, v)
    )
    return *to_layer, to_weights.astype(weights.dtype)


def _averages_forward(*primals: Array) -> tuple[Array, tuple[Array, ...]]:
    return _averages(*primals), primals


def _averages_backward(primals: tuple[Array, ...], weights: Array) -> tuple[Array, ...]:
    *layer, mass = primals
    *to_layer, to_mass = _pull_back(layer, weights, mass, lambda hidden, w, v: _score(hidden, w))
    return *to_layer, to_mass.astype(mass.dtype)


_scores.defvjp(_scores_forward, _scores_backward)
_averages.defvjp(_averages_forward, _averages_backward)
