"""Optimal transport between tokens and slots: entropic (Sinkhorn), exact, and of least entropy.

Costs and plans are [B,K,N]: slots by tokens, as attention is. Everything is in float32 at least,
with potentials in place of scaling factors: log P = -C/τ + v_k + u_n.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

_LEAST = 1e-30
"""Least mass of a slot or token, so that its logarithm is finite."""

_UNROLLED = 8
"""Sweeps up to which they are written out; more run in a loop."""


def sinkhorn(
    cost: Float[Array, "b k n"],
    slot_mass: Float[Array, "b k"],
    token_mass: Float[Array, "b n"],
    *,
    sweeps: int,
    temperature: ScalarLike = 1.0,
    start: Float[Array, "b k"] | None = None,
) -> tuple[Float[Array, "b k n"], Float[Array, "b n"], Float[Array, "b k"]]:
    """The entropic plan after so many sweeps (Cuturi 2013, Alg. 1, in logarithms).

    A sweep gives tokens their mass, then slots: the plan's sums over tokens are exact, those over
    slots approximate. Its gradient recomputes the sweeps, so that memory does not grow with their
    number (but for K numbers per sweep while it is computed).

    Args:
        cost: of moving mass from a token to a slot.
        slot_mass: what each slot gets; sums to the same as `token_mass`.
        token_mass: what each token gives.
        sweeps: at least 1.
        temperature: τ; the lower, the nearer to the exact plan and the more sweeps it takes.
        start: slots' potentials to start from; zeros by default.

    Returns:
        The plan, and the potentials of tokens u and slots v.
    """
    scores = -cost / temperature
    log_slots, log_tokens = (jnp.log(jnp.maximum(mass, _LEAST)) for mass in (slot_mass, token_mass))
    start = jnp.zeros_like(log_slots) if start is None else start
    u, v = _potentials(sweeps, scores, log_slots, log_tokens, start)
    return jnp.exp(scores + u[:, None] + v[..., None]), u, v


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _potentials(
    sweeps: int,
    scores: Float[Array, "b k n"],
    log_slots: Float[Array, "b k"],
    log_tokens: Float[Array, "b n"],
    start: Float[Array, "b k"],
) -> tuple[Float[Array, "b n"], Float[Array, "b k"]]:
    """Potentials of tokens and slots after the last sweep."""

    def sweep(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        return _sweep(scores, log_slots, log_tokens, carry[1]), None

    first = (jnp.zeros_like(log_tokens), start)
    return _scan(sweep, first, None, sweeps)[0]


def _sweep(
    scores: Float[Array, "b k n"],
    log_slots: Float[Array, "b k"],
    log_tokens: Float[Array, "b n"],
    v: Float[Array, "b k"],
) -> tuple[Float[Array, "b n"], Float[Array, "b k"]]:
    u = log_tokens - logsumexp(scores + v[..., None], axis=1)
    return u, log_slots - logsumexp(scores + u[:, None], axis=2)


def _scan(body, carry, xs, length: int, *, reverse: bool = False):  # type: ignore[no-untyped-def]
    unroll = length if length <= _UNROLLED else 1
    return jax.lax.scan(body, carry, xs, length, reverse=reverse, unroll=unroll)


def _forward(
    sweeps: int, *primals: Array
) -> tuple[tuple[Float[Array, "b n"], Float[Array, "b k"]], tuple[Array, ...]]:
    return _potentials(sweeps, *primals), primals


def _backward(
    sweeps: int, primals: tuple[Array, ...], cotangents: tuple[Array, Array]
) -> tuple[Array, Array, Array, Array]:
    scores, log_slots, log_tokens, start = primals

    def sweep(v: Array, _: None) -> tuple[Array, Array]:
        return _sweep(scores, log_slots, log_tokens, v)[1], v

    last, starts = _scan(sweep, start, None, sweeps)

    def undo(carry: tuple[Array, ...], v: Array) -> tuple[tuple[Array, ...], None]:
        to_scores, to_slots, to_tokens, to_u, to_v, after = carry
        logits = scores + v[..., None]
        total = logsumexp(logits, axis=1)
        over_slots = jnp.exp(logits - total[:, None])
        u = log_tokens - total
        # Of the second half: a softmax over tokens, as `after` is log_slots - logsumexp.
        moved = jnp.exp(scores + u[:, None] + (after - log_slots)[..., None]) * to_v[..., None]
        to_u = to_u - moved.sum(axis=1)
        moved = moved + over_slots * to_u[:, None]
        before = -(over_slots * to_u[:, None]).sum(axis=2)
        return (
            to_scores - moved,
            to_slots + to_v,
            to_tokens + to_u,
            jnp.zeros_like(to_u),  # only the last sweep's u is read from outside
            before,
            v,
        ), None

    zeros = [jnp.zeros_like(x) for x in primals[:3]]
    carry, _ = _scan(undo, (*zeros, *cotangents, last), starts, sweeps, reverse=True)
    to_scores, to_slots, to_tokens, _, to_start, _ = carry
    return to_scores, to_slots, to_tokens, to_start


_potentials.defvjp(_forward, _backward)


def entropy(plan: Float[Array, "b k n"]) -> Float[Array, "b"]:
    """Mean of -p log p over a plan's entries, p clipped to [1e-20, 1]."""
    p = jnp.clip(plan, 1e-20, 1)
    return -(p * jnp.log(p)).mean(axis=(1, 2))


def minimize_entropy(
    cost: Float[Array, "b k n"],
    slot_mass: Float[Array, "b k"],
    token_mass: Float[Array, "b n"],
    *,
    steps: int,
    learning_rate: ScalarLike,
    sweeps: int,
    warm_start: bool = True,
) -> tuple[Float[Array, "b k n"], Float[Array, "b k"] | None]:
    """Moves costs so that their plan gets sharper (MESH: Zhang et al. 2023, section 3).

    Each step goes down the gradient of the plan's entropy by `learning_rate`, in Frobenius norm per
    example. For the outer gradient that direction is a constant; what it flows through are the
    costs, step by step unchanged, and the potentials that are handed on.

    Args:
        cost: with a little noise in it, or equal slots stay equal.
        slot_mass: as in `sinkhorn`.
        token_mass: as in `sinkhorn`.
        steps: how often.
        learning_rate: λ, a number or a scalar array.
        sweeps: of each step's plan, whose temperature is 1.
        warm_start: each plan starts from the last one's potentials.

    Returns:
        The costs, and slots' potentials to start their plan from.
    """
    masses = jax.lax.stop_gradient((slot_mass, token_mass))

    def uncertainty(cost: Array, start: Array | None) -> Array:
        return entropy(sinkhorn(cost, *masses, sweeps=sweeps, start=start)[0]).sum()

    start = None
    for _ in range(steps):
        held = jax.lax.stop_gradient((cost, start))
        direction = jax.grad(uncertainty)(*held) + 1e-20
        norm = jnp.sqrt(jnp.square(direction).sum(axis=(1, 2), keepdims=True))
        direction = jax.lax.stop_gradient(direction / jnp.maximum(norm, 1e-12))
        if warm_start:
            _, _, start = sinkhorn(cost, slot_mass, token_mass, sweeps=sweeps, start=start)
        cost = cost - learning_rate * direction
    return cost, start


def exact_plan(
    cost: Float[Array, "b k n"],
    slot_mass: Float[Array, "b k"],
    token_mass: Float[Array, "b n"],
) -> Float[Array, "b k n"]:
    """The plan of least cost, a vertex of the transport polytope with at most K + N - 1 entries.

    It is solved on the host, one linear program per example: a reference for small problems. It is
    constant almost everywhere, and its gradient is zero.
    """
    shape = jax.ShapeDtypeStruct(cost.shape, cost.dtype)
    arguments = jax.lax.stop_gradient((cost, slot_mass, token_mass))
    return jax.pure_callback(_solve, shape, *arguments, vmap_method="expand_dims")


def _solve(*problem: ArrayLike) -> np.ndarray:
    """The exact plans of any number of problems: cost [*b,K,N], masses [*b,K] and [*b,N]."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, kron, vstack

    cost, slot_mass, token_mass = (np.asarray(x, np.float64) for x in problem)
    *batch, slots, tokens = cost.shape
    sums = vstack(
        [
            kron(eye_array(slots), csr_array(np.ones((1, tokens)))),
            kron(csr_array(np.ones((1, slots))), eye_array(tokens)),
        ]
    ).tocsr()
    slot_mass = np.broadcast_to(slot_mass, (*batch, slots))
    token_mass = np.broadcast_to(token_mass, (*batch, tokens))
    plans = np.empty(cost.shape)
    for index in np.ndindex(*batch):
        given, wanted = token_mass[index], slot_mass[index]
        given = given * (wanted.sum() / given.sum())  # equal to the last digit, or none exists
        # One sum follows from the others.
        found = linprog(
            cost[index].ravel(), A_eq=sums[:-1], b_eq=np.concatenate([wanted, given])[:-1]
        )
        if found.x is None:
            raise ValueError(f"No transport plan was found: {found.message}")
        plans[index] = found.x.reshape(slots, tokens)
    return plans.astype(np.asarray(problem[0]).dtype)
