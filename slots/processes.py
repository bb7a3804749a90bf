"""Several processes that train one run: how they find each other, what they agree on, who writes.

Every process runs the same program over the same mesh and reads its own part of every batch. What
decides the course of a run (a signal, a folder's name) is agreed upon, and the first process writes
all files but checkpoints, of which each writes what it holds.
"""

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from slots.config import ConfigError

_NAME_BYTES = 1024
_HEARTBEAT_SECONDS = 30


def join(coordinator: str | None, count: int | None, number: int | None, *, detect: bool) -> None:
    """Makes this process one of several; before JAX is first used.

    Args:
        coordinator: `host:port` of the first process, for processes started by hand.
        count: of processes.
        number: of this one, from 0.
        detect: asks the cluster (SLURM, Open MPI, TPU pods, Kubernetes) for all three, and fails
            where there is none.

    Without any of them, a job step of SLURM or Open MPI with several tasks is recognised.

    Raises:
        ConfigError: only some were given, they contradict each other, or the others did not come.
    """
    given = {"coordinator": coordinator, "processes": count, "process": number}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3 and not detect and not launched(os.environ):
        return
    if 0 < len(missing) < 3:
        raise ConfigError(
            f"{missing[0]}= is missing: processes started by hand want coordinator=HOST:PORT, "
            "processes=N and process=I."
        )
    if count is not None and number is not None and number >= count:
        raise ConfigError(f"process={number} should be from 0 to {count - 1}.")
    try:
        jax.distributed.initialize(
            coordinator, count, number, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"Processes of this run did not find each other: {_reason(error)}."
        ) from error
    _watch()
    atexit.register(_unwatch)


def launched(environment: Mapping[str, str]) -> bool:
    """Whether `srun` or `mpirun` started several of this program.

    The script of a SLURM job is itself a step of one task, whatever the job's number of tasks.
    """
    if "SLURM_PROCID" in environment:
        return int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    return int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1


_LOST = (
    "another process of this job died or could not be reached. Start all of them again: they go on "
    "from the newest checkpoint"
)
_watchers: list["subprocess.Popen[bytes]"] = []


def _watch() -> None:
    """Has one sentence said if this process is ended from outside.

    JAX (0.10) aborts all processes when one of them is lost: Python does not run any more then, and
    the last thing to read would be a stack of C++ calls. A shell that waits for a word from this
    process speaks instead when the word does not come.
    """
    own = f"process {os.getpid()} on {socket.gethostname()}"
    text = f"slots: {own} was killed, or {_LOST}."
    command = ["sh", "-c", 'trap "" INT TERM HUP; read -r word || echo "$1" >&2', "sh", text]
    _watchers.append(subprocess.Popen(command, stdin=subprocess.PIPE))


def _unwatch() -> None:
    while _watchers:
        _watchers.pop().communicate(b"ended\n")


def leave(status: int) -> NoReturn:
    """Ends this process without waiting for the others, which may be waiting for it."""
    _unwatch()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def lost(error: Exception) -> str:
    """What an error tells, which may be that JAX or Orbax can't reach another process."""
    if not isinstance(error, jax.errors.JaxRuntimeError | TimeoutError):
        return str(error)
    return f"{_LOST[0].upper()}{_LOST[1:]} ({_reason(error)})."


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].rstrip(".")


def is_first() -> bool:
    """Whether this process writes files and speaks."""
    return not joined() or jax.process_index() == 0


def joined() -> bool:
    """Whether this process is one of a job's; does not start JAX's devices."""
    return jax.distributed.is_initialized()


def meet(name: str) -> None:
    """Waits until all processes are at the place called `name`."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def first_says(text: str) -> str:
    """The first process's text, in all of them."""
    if jax.process_count() == 1:
        return text
    from jax.experimental import multihost_utils

    letters = np.zeros(_NAME_BYTES, np.uint8)
    given = np.frombuffer(text.encode(), np.uint8)
    letters[: len(given)] = given
    told = multihost_utils.broadcast_one_to_all(letters)
    return bytes(np.asarray(told)).rstrip(b"\0").decode()


def highest(number: int) -> int:
    """The highest of all processes' numbers."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.array([number], np.int32))))


def on_host(array: jax.Array) -> np.ndarray:
    """All of an array, whichever processes' devices hold it."""
    if jax.process_count() == 1 or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def at_home(tree: PyTree) -> PyTree:
    """Arrays on this process's own devices, to go on with alone."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda x: jax.device_put(on_host(x), jax.local_devices()[0]), tree)


def shard(place: NamedSharding, batch_size: int) -> tuple[int, int]:
    """Which part of every batch this process reads, of how many: the rows its devices hold.

    Processes among which only parameters are split (`tensor`) read the same part.
    """
    places = place.addressable_devices_indices_map((batch_size,)).values()
    return _part([found[0] for found in places if found], batch_size)


def _part(rows: Sequence[slice], batch_size: int) -> tuple[int, int]:
    start = min(s.start or 0 for s in rows)
    stop = max(batch_size if s.stop is None else s.stop for s in rows)
    return start // (stop - start), batch_size // (stop - start)


def spread(part: PyTree, place: NamedSharding, batch_size: int) -> PyTree:
    """Arrays over all processes' devices of the rows that each process read.

    Args:
        part: this process's rows, see `shard`.
        place: of the whole.
        batch_size: rows of the whole.
    """
    if jax.process_count() == 1:
        return jax.device_put(part, place)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(
            place, np.asarray(x), (batch_size, *x.shape[1:])
        ),
        part,
    )


def spread_whole(batch: PyTree, place: NamedSharding) -> PyTree:
    """Arrays over all processes' devices of a batch that every process has."""
    if jax.process_count() == 1:
        return jax.device_put(batch, place)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, place, np.asarray(x).__getitem__), batch
    )
