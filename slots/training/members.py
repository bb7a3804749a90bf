"""Several seeds of one experiment as one program.

States, batches and metrics of several members are tuples of those of one; a lone member's stand by
themselves. What knows the difference is here.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from slots.evaluation import over_seeds
from slots.training.step import Compiled, TrainStep
from slots.types import Batch, TrainState

_T = TypeVar("_T")

State = TrainState | tuple[TrainState, ...]
Batches = Batch | tuple[Batch, ...]

Sharing = Literal["auto", "vmapped", "mapped"]
"""How members share a program: side by side, or one after the other."""


def over_members(
    update: TrainStep, seeds: Sequence[int], sharing: Sharing, state: PyTree, batch: NamedSharding
) -> Compiled:
    """One member's update, compiled for all of them; it donates the states.

    Mapped, one program is called for each member in turn. With convolutions on a CPU (jax 0.10),
    members side by side took 4 times as long as alone and a loop inside the program 7 times; see
    docs/results/several_seeds.md.

    Args:
        update: of one member.
        seeds: the members'.
        sharing: `auto` maps on a CPU and vectorizes elsewhere.
        state: placements of one member's state.
        batch: placement of one member's batch.
    """
    everywhere = NamedSharding(batch.mesh, PartitionSpec())
    numbers, count = np.array(seeds, np.uint32), len(seeds)
    if sharing == "auto":
        sharing = "mapped" if jax.default_backend() == "cpu" else "vmapped"

    def side_by_side(
        states: tuple[TrainState, ...], batches: tuple[Batch, ...]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        found, metrics = jax.vmap(update)(stack(states), stack(batches), numbers)
        return unstack(found, count), unstack(metrics, count)

    if sharing == "vmapped":
        return jax.jit(
            side_by_side,
            in_shardings=((state,) * count, (batch,) * count),
            out_shardings=((state,) * count, everywhere),
            donate_argnums=0,
        )
    compiled = jax.jit(
        update,
        in_shardings=(state, batch, everywhere),
        out_shardings=(state, everywhere),
        donate_argnums=0,
    )

    def in_turn(
        states: tuple[TrainState, ...], batches: tuple[Batch, ...]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        found = [compiled(*one) for one in zip(states, batches, numbers, strict=True)]
        new, metrics = zip(*found, strict=True)
        return new, metrics

    return in_turn


def stack(members: Sequence[PyTree]) -> PyTree:
    """The members' arrays behind a member axis."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *members)


def unstack(members: PyTree, count: int) -> tuple[PyTree, ...]:
    """Undoes `stack`."""
    return tuple(jax.tree.map(lambda x, i=i: x[i], members) for i in range(count))


def each(members: _T | tuple[_T, ...]) -> tuple[_T, ...]:
    """What belongs to each member; a lone one's alone in a tuple."""
    return members if isinstance(members, tuple) else (members,)


def of(members: Sequence[_T]) -> _T | tuple[_T, ...]:
    """Undoes `each`."""
    return members[0] if len(members) == 1 else tuple(members)


def updates(state: State) -> int:
    """Updates made; all members have made the same number."""
    return int(each(state)[0].step)


def summary(values: Sequence[Any]) -> Any:
    """What is reported of a metric: a lone member's number, or `mean`, `std` and `members`.

    Args:
        values: each member's number.
    """
    if len(values) == 1:
        return np.asarray(values[0]).item()
    numbers = [float(value) for value in values]
    mean, std = over_seeds(numbers)
    return {"mean": mean, "std": std, "members": numbers}
