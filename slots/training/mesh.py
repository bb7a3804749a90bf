"""Devices as a named grid, and where each array lies on it.

What used to be called pjit is `jax.jit` with `NamedSharding`s: arrays are given a placement, the
compiler splits the work accordingly.
"""

import dataclasses
import logging
import math
import os
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from slots.config import ConfigError
from slots.training.rules import match, named_leaves

log = logging.getLogger("slots")

AXES = ("data", "fsdp", "tensor")

Placement = Literal["fsdp", "replicate", "column", "row"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Sizes of the mesh axes; their product is the number of devices used.

    `data` splits the batch. `fsdp` splits the batch too, and each parameter along its largest axis
    that it divides. `tensor` splits parameters as the rules say.
    """

    data: int = -1
    """-1: all devices that the other axes leave."""
    fsdp: int = 1
    tensor: int = 1
    rules: tuple[tuple[str, str], ...] = ()
    """(path pattern, placement), first match wins: `column` splits a kernel's outputs over
    `tensor`, `row` its inputs, both leave the other axis to `fsdp`; `replicate`; `fsdp`, which is
    also what holds where no rule matches."""
    cpu_devices: int | None = None
    """Devices that the CPU counts as (None: what JAX was started with, normally 1). XLA computes a
    convolution on one core, so one device per core makes large networks faster on a CPU."""

    def __post_init__(self) -> None:
        if self.cpu_devices is not None and self.cpu_devices < 1:
            raise ConfigError(f"mesh.cpu_devices={self.cpu_devices} must be at least 1.")
        for axis in ("fsdp", "tensor"):
            if getattr(self, axis) < 1:
                raise ConfigError(f"mesh.{axis}={getattr(self, axis)} must be at least 1.")
        if self.data < 1 and self.data != -1:
            raise ConfigError(f"mesh.data={self.data} must be at least 1, or -1 for the rest.")
        for pattern, placement in self.rules:
            if placement not in ("fsdp", "replicate", "column", "row"):
                raise ConfigError(
                    f"mesh.rules: {pattern!r} has placement {placement!r}; "
                    "use fsdp, replicate, column or row."
                )
        if self.tensor > 1 and not any(p in ("column", "row") for _, p in self.rules):
            raise ConfigError(
                f"mesh.tensor={self.tensor}, but no rule in mesh.rules says column or row."
            )

    def prepare(self) -> None:
        """Sets the number of CPU devices, before JAX is first used.

        Raises:
            ConfigError: JAX has counted them already, as another number.
        """
        wanted = self.cpu_devices
        if wanted is None or getattr(jax.config, "jax_num_cpu_devices", None) == wanted:
            return
        try:
            jax.config.update("jax_num_cpu_devices", wanted)
        except RuntimeError as error:
            raise ConfigError(
                f"mesh.cpu_devices={wanted} comes too late: this process has used JAX before and "
                f"keeps its {len(jax.local_devices(backend='cpu'))}; set it in a new one."
            ) from error
        spare_thread(wanted)

    def make(self) -> Mesh:
        """The mesh over the first devices.

        Raises:
            ConfigError: there are not that many devices, or see `prepare`.
        """
        self.prepare()
        devices = jax.devices()
        inner = self.fsdp * self.tensor
        data = len(devices) // inner if self.data == -1 else self.data
        shape = (data, self.fsdp, self.tensor)
        if data < 1 or math.prod(shape) > len(devices):
            raise ConfigError(
                f"mesh.data={self.data}, fsdp={self.fsdp}, tensor={self.tensor} need "
                f"{max(data, 1) * inner} devices, but there are {len(devices)}."
            )
        # Automatic axes: the compiler propagates placements (explicit ones are jax 0.10's default).
        automatic, devices = (AxisType.Auto,) * 3, devices[: math.prod(shape)]
        if jax.process_count() == 1:
            return jax.make_mesh(shape, AXES, axis_types=automatic, devices=devices)
        idle = set(range(jax.process_count())) - {device.process_index for device in devices}
        if idle:
            raise ConfigError(
                f"mesh.data={self.data}, fsdp={self.fsdp}, tensor={self.tensor} leave process "
                f"{min(idle)} of {jax.process_count()} without a device."
            )
        # Every process's devices side by side, so that it reads one stretch of each batch.
        devices = sorted(devices, key=lambda device: (device.process_index, device.id))
        return Mesh(np.array(devices).reshape(shape), AXES, axis_types=automatic)


def spare_thread(devices: int) -> None:
    """Gives the CPU's pool of threads more of them than devices; before JAX is first used.

    A device holds a thread of the pool while its program runs. LAPACK's batched routines (`eigh`)
    wait for others of the same pool, so as many programs as threads would wait for ever.
    """
    here = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if here else os.cpu_count() or 1
    if devices >= cores:
        os.environ.setdefault("PJRT_NPROC", str(devices + 1))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Examples split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def batch_divisor(mesh: Mesh) -> int:
    """What a batch size must be a multiple of."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def param_shardings(params: PyTree, mesh: Mesh, rules: tuple[tuple[str, str], ...]) -> PyTree:
    """Placement of each parameter.

    Args:
        params: arrays or their abstract shapes.
        mesh: where to.
        rules: as in `MeshConfig.rules`.

    Raises:
        ConfigError: a rule matches nothing, or its axis does not divide a parameter it names.
    """
    placements = match(rules, params, "fsdp", "mesh.rules")
    names = iter(named_leaves(params))
    unsplit = []

    def place(leaf: Any, placement: str) -> NamedSharding:
        name = next(names)
        axes: list[str | None] = [None] * leaf.ndim
        if placement in ("column", "row"):
            axis = leaf.ndim - 1 if placement == "column" else leaf.ndim - 2
            if axis < 0 or leaf.shape[axis] % mesh.shape["tensor"]:
                raise ConfigError(
                    f"mesh.rules: {name} of shape {leaf.shape} can't be split by {placement} "
                    f"over tensor={mesh.shape['tensor']}."
                )
            axes[axis] = "tensor"
        size = mesh.shape["fsdp"]
        if placement != "replicate" and size > 1:
            free = [i for i in range(leaf.ndim) if axes[i] is None and leaf.shape[i] % size == 0]
            if free:
                axes[max(free, key=lambda i: leaf.shape[i])] = "fsdp"
            else:
                unsplit.append(name)
        return NamedSharding(mesh, PartitionSpec(*axes))

    shardings = jax.tree.map(place, params, placements)
    if unsplit:
        log.info("fsdp=%d divides no axis of: %s", mesh.shape["fsdp"], ", ".join(unsplit))
    return shardings


def like_params(tree: PyTree, params: PyTree, shardings: PyTree, mesh: Mesh) -> PyTree:
    """Placement of a tree that holds parameters or copies of them, as optimizer states do.

    A leaf whose path ends in a parameter's path and has its shape lies where the parameter does;
    everything else is replicated.
    """
    shapes = {name: leaf.shape for name, leaf in named_leaves(params).items()}
    places = named_leaves(shardings)

    leaves = []
    for name, leaf in named_leaves(tree).items():
        parts = name.split("/")
        suffixes = ("/".join(parts[i:]) for i in range(len(parts)))
        owner = next((s for s in suffixes if shapes.get(s) == leaf.shape), None)
        leaves.append(replicated(mesh) if owner is None else places[owner])
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)
