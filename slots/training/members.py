"""Several seeds of one experiment as one program.

State, batch and metrics of several members are those of one with a member axis in front of every
array; a lone member has none. What knows about that axis is here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree, ScalarLike

from slots.evaluation import over_seeds
from slots.training.step import Compiled, Metrics, TrainStep
from slots.types import TrainState

Sharing = Literal["auto", "vmapped", "mapped"]
"""How members share a program: side by side, or one after the other."""


def over_members(
    update: TrainStep, seeds: Sequence[int], sharing: Sharing, state: PyTree, batch: NamedSharding
) -> Compiled:
    """One member's update, compiled for all of them; it donates the state.

    Mapped, one program is called for each member in turn. With convolutions on a CPU (jax 0.10),
    members side by side took 10 times as long as alone and a loop inside the program 24 times; see
    docs/results/several_seeds.md.

    Args:
        update: of one member.
        seeds: the members'.
        sharing: `auto` maps on a CPU and vectorizes elsewhere.
        state: placements of all members' state.
        batch: placement of their batch.
    """
    everywhere = NamedSharding(batch.mesh, PartitionSpec())
    each = np.array(seeds, np.uint32)
    if sharing == "auto":
        sharing = "mapped" if jax.default_backend() == "cpu" else "vmapped"
    if sharing == "vmapped":
        return jax.jit(
            lambda states, batches: jax.vmap(update)(states, batches, each),
            in_shardings=(state, batch),
            out_shardings=(state, everywhere),
            donate_argnums=0,
        )

    def of_one(states: TrainState, batches: PyTree, number: ScalarLike) -> tuple[PyTree, Metrics]:
        new, metrics = update(*member((states, batches, jnp.asarray(each)), number))
        return jax.tree.map(lambda x, row: x.at[number].set(row), states, new), metrics

    compiled = jax.jit(
        of_one,
        in_shardings=(state, batch, everywhere),
        out_shardings=(state, everywhere),
        donate_argnums=0,
    )

    def in_turn(states: TrainState, batches: PyTree) -> tuple[TrainState, PyTree]:
        found = []
        for number in range(len(seeds)):
            states, metrics = compiled(states, batches, np.int32(number))
            found.append(metrics)
        return states, stack(found)

    return in_turn


def behind(place: NamedSharding) -> NamedSharding:
    """The placement of one member's array behind the member axis, which is never split."""
    return NamedSharding(place.mesh, PartitionSpec(None, *place.spec))


def abstract_members(one: PyTree, count: int) -> PyTree:
    """Shapes, dtypes and placements of `count` members, from those of one."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype, sharding=behind(x.sharding)), one
    )


@jax.jit
def stack(members: Sequence[PyTree]) -> PyTree:
    """The members' arrays behind a member axis."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *members)


@jax.jit
def member(members: PyTree, number: ScalarLike) -> PyTree:
    """One member's arrays; `number` counts from 0."""
    return jax.tree.map(lambda x: x[number], members)


def each_member(state: TrainState, count: int) -> Iterator[TrainState]:
    """The state of each of `count` members; a lone one's as it is."""
    return (member(state, i) for i in range(count)) if count > 1 else iter((state,))


def updates(state: TrainState) -> int:
    """Updates made; all members have made the same number."""
    return int(jax.device_get(state.step).max())


def summary(values: Any) -> Any:
    """What is reported of a metric: a lone member's number, or `mean`, `std` and `members`.

    Args:
        values: an array of one number [], or of each member's [m].
    """
    if not np.ndim(values):
        return np.asarray(values).item()
    numbers = [float(value) for value in values]
    mean, std = over_seeds(numbers)
    return {"mean": mean, "std": std, "members": numbers}
