"""Checks that all processes of a job make together, in themselves."""

import dataclasses
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from slots.experiment import Experiment
from slots.processes import on_host
from slots.selftest.outcome import Outcome
from slots.training import CheckpointConfig, Checkpoints
from slots.training.members import State, each
from slots.training.mesh import AXES, batch_sharding
from slots.training.rules import named_leaves

STEPS = 5
"""Updates after which parameters are compared."""
GRADIENTS = 1e-4
"""How far gradients may differ, as a part of their norm: sums are taken in another order."""


def check_gradients(experiment: Experiment) -> Outcome:
    """Gradients of the first batch on one device of this process, and on the whole mesh."""
    trainer = experiment.trainer.member(0)
    first = np.array(jax.local_devices()[:1]).reshape(1, 1, 1)
    alone = dataclasses.replace(trainer, mesh=Mesh(first, AXES, axis_types=trainer.mesh.axis_types))
    whole = next(trainer.dataset.train(trainer.train.batch_size))
    update = trainer.update()
    found = []
    for one, batch in (
        (alone, jax.device_put(whole, batch_sharding(alone.mesh))),
        (trainer, next(trainer.batches(0))),
    ):
        compute = jax.jit(lambda state, batch: update.gradients(state, batch, trainer.train.seed))
        found.append(jax.tree.map(on_host, compute(one.init(), batch)))
    leaves = [jax.tree.leaves(gradients) for gradients in found]
    norm, apart = (
        float(np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in tree)))
        for tree in (leaves[0], [a - b for a, b in zip(*leaves, strict=True)])
    )
    ok = norm > 0 and apart <= GRADIENTS * norm  # a NaN is not
    return Outcome(
        "gradients",
        ok,
        f"on 1 and {trainer.mesh.size} devices differ by {apart / norm if norm else 0:.1e} of "
        f"their norm {norm:.2g}",
    )


def check_data(experiment: Experiment) -> Outcome:
    """Shards of batches, as many processes read them, are the batches that one reads."""
    trainer = experiment.trainer
    size, dataset = trainer.train.batch_size, trainer.dataset
    counts = [count for count in (1, 2, 4) if size % count == 0]  # some compile for each shard
    for start in (0, 3):
        whole = jax.device_get(next(dataset.train(size, start=start)))
        for count in counts:
            parts = [next(dataset.train(size, start=start, shard=(p, count))) for p in range(count)]
            joined = jax.tree.map(lambda *rows: np.concatenate(rows), *jax.device_get(parts))
            if bad := _differing(whole, joined):
                return Outcome("data", False, f"{count} shards of step {start} differ in {bad}")
        mesh = jax.tree.map(on_host, each(next(trainer.batches(start)))[0])
        if bad := _differing(whole, mesh):
            return Outcome("data", False, f"on the mesh, the batch of step {start} has other {bad}")
    listed = ", ".join(map(str, counts))
    return Outcome("data", True, f"batches of {size} read in {listed} shards are the whole batches")


def _differing(one: Any, other: Any) -> str:
    """The first field that differs."""
    fields, others = named_leaves(one), named_leaves(other)
    if set(fields) != set(others):
        return min(set(fields) ^ set(others))
    return next((n for n, x in fields.items() if not np.array_equal(x, others[n])), "")


def check_parameters(experiment: Experiment) -> Outcome:
    """After some updates, every device of every process holds the same parameters."""
    trainer = experiment.trainer
    state, step = trainer.init(), trainer.step()
    for _, batch in zip(range(STEPS), trainer.batches(0), strict=False):
        state, _ = step(state, batch)
    leaves = {name: x for one in each(state) for name, x in named_leaves(one.params).items()}
    for name, leaf in leaves.items():
        copies: dict[Any, int] = {}
        for shard in leaf.addressable_shards:
            place = str(shard.index)
            total = zlib.crc32(np.ascontiguousarray(shard.data).tobytes())
            if copies.setdefault(place, total) != total:
                return Outcome("parameters", False, f"devices hold different {name}")
    same = [name for name, leaf in leaves.items() if leaf.is_fully_replicated]
    totals = [zlib.crc32(np.asarray(leaves[n]).tobytes()) for n in same]
    for name, found in zip(same, _gathered(totals).T, strict=True):
        if len(set(found.tolist())) > 1:
            return Outcome("parameters", False, f"processes hold different {name}")
    if not all(np.isfinite(on_host(leaf)).all() for leaf in leaves.values()):
        return Outcome("parameters", False, f"not finite after {STEPS} updates")
    return Outcome(
        "parameters",
        True,
        f"{len(leaves)} arrays are the same on {trainer.mesh.size} devices of "
        f"{jax.process_count()} processes after {STEPS} updates",
    )


def _gathered(numbers: Sequence[int]) -> np.ndarray:
    """Every process's numbers, int64 [P, n]."""
    mine = np.array(numbers, np.uint32)
    if jax.process_count() == 1:
        return mine[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(mine))


def check_checkpoint(experiment: Experiment, folder: Path) -> Outcome:
    """Saved, read back and gone on with, training ends with the same bits.

    Args:
        experiment: which.
        folder: seen by all processes.
    """
    trainer, half = experiment.trainer, STEPS // 2
    step = trainer.step()

    def advance(state: State, first: int, count: int) -> State:
        for _, batch in zip(range(count), trainer.batches(first), strict=False):
            state, _ = step(state, batch)
        return state

    straight = _totals(advance(trainer.init(), 0, STEPS))
    checkpoints = Checkpoints(folder, CheckpointConfig())
    checkpoints.save(half, advance(trainer.init(), 0, half))
    checkpoints.wait()
    restored, _ = checkpoints.restore(trainer.abstract_state())
    again = _totals(advance(restored, half, STEPS - half))
    checkpoints.close()
    changed = [name for name, total in straight.items() if again[name] != total]
    if changed:
        return Outcome("checkpoint", False, f"gone on with, {changed[0]} ends with other bits")
    told = f"saved and read back after {half} of {STEPS} updates, {len(straight)} arrays end alike"
    return Outcome("checkpoint", True, told)


def _totals(state: State) -> dict[str, int]:
    """A check sum of every array."""
    arrays = named_leaves(each(state))
    return {n: zlib.crc32(np.ascontiguousarray(on_host(x)).tobytes()) for n, x in arrays.items()}


def check_memory(experiment: Experiment) -> Outcome:
    """What the compiled step wants, against what a device has."""
    trainer = experiment.trainer
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        next(trainer.batches(0)),
    )
    step = jax.jit(trainer.step(), donate_argnums=0)  # of all members, mapped ones too
    compiled = step.lower(trainer.abstract_state(), batch).compile()
    if (found := compiled.memory_analysis()) is None:
        return Outcome("memory", True, "this machine's compiler does not tell what a step wants")
    wanted = (
        found.temp_size_in_bytes
        + found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
    )
    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit") or _host_memory() // len(jax.local_devices())
    told = f"the compiled step wants {_size(wanted)} of {_size(limit)} a device"
    return Outcome("memory", wanted <= limit, told)


def _host_memory() -> int:
    """Bytes of the machine that CPU devices share."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
