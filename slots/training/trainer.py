"""Everything static about training: settings, placements, the compiled update, the stream."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import ScalarLike

from slots.config import ConfigError
from slots.data.base import Dataset
from slots.models import Definition
from slots.objectives import ObjectiveConfig
from slots.processes import shard, spread
from slots.training.members import Batches, Sharing, State, of, over_members
from slots.training.mesh import (
    MeshConfig,
    batch_divisor,
    batch_sharding,
    like_params,
    param_shardings,
    replicated,
)
from slots.training.optim import OptimizerConfig
from slots.training.step import Compiled, TrainStep, init_state
from slots.types import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch and seed of training."""

    steps: int = 500_000
    """Optimizer updates in all; may be raised when a run goes on."""
    batch_size: int = 64
    """Examples per update, over all devices and micro-batches."""
    seed: int = 0
    """Of parameters and draws; the data has its own."""
    seeds: int = 1
    """How many members to train as one program; member i has `train.seed` + i and `data.seed` + i,
    held-out data apart."""
    members: Sharing = "auto"
    """How they share it: `vmapped` side by side, `mapped` one after the other; `auto`: mapped on a
    CPU, where it was measured, vmapped elsewhere."""
    accumulate: int = 1
    """Micro-batches per update."""
    max_skipped: int = 100
    """Updates that may be skipped for a loss or gradient that is not finite before the run ends."""

    @property
    def member_seeds(self) -> tuple[int, ...]:
        """Each member's `train.seed`."""
        return tuple(range(self.seed, self.seed + self.seeds))

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "seeds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.seed <= 2**32 - self.seeds:
            raise ConfigError(
                f"train.seed={self.seed} must be at least 0 and, with train.seeds={self.seeds}, "
                f"at most 2**32 - {self.seeds}."
            )
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.batch_size={self.batch_size} does not divide into "
                f"train.accumulate={self.accumulate} micro-batches."
            )


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything static about a training run."""

    definition: Definition
    objectives: Sequence[ObjectiveConfig]
    dataset: Dataset
    """The first member's."""
    optimizer: OptimizerConfig
    train: TrainConfig
    mesh_config: MeshConfig
    mesh: Mesh

    @classmethod
    def of(
        cls,
        definition: Definition,
        objectives: Sequence[ObjectiveConfig],
        dataset: Dataset,
        optimizer: OptimizerConfig,
        train: TrainConfig,
        mesh: MeshConfig,
    ) -> "Trainer":
        """Makes the mesh and checks that the batch divides over it.

        Raises:
            ConfigError: too few devices, or a batch that does not divide.
        """
        made = mesh.make()
        divisor = batch_divisor(made) * train.accumulate
        if train.batch_size % divisor:
            raise ConfigError(
                f"train.batch_size={train.batch_size} must be a multiple of {divisor} "
                f"(mesh data × fsdp × accumulate)."
            )
        return cls(definition, objectives, dataset, optimizer, train, mesh, made)

    def abstract_member(self) -> TrainState:
        """Shapes, dtypes and placements of one member's state; makes no array."""
        shapes = jax.eval_shape(lambda: self._init(self.train.seed))
        places = param_shardings(shapes.params, self.mesh, self.mesh_config.rules)
        shardings = like_params(shapes, shapes.params, places, self.mesh)
        return jax.tree.map(
            lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
            shapes,
            shardings,
        )

    def abstract_state(self) -> State:
        """Shapes, dtypes and placements of the state of all members; makes no array."""
        return of([self.abstract_member()] * self.train.seeds)

    def _init(self, seed: ScalarLike) -> TrainState:
        return init_state(self.definition, self.optimizer, self.train.steps, jax.random.key(seed))

    def init(self) -> State:
        """A fresh state of all members, each array made where it belongs."""
        make = jax.jit(self._init, out_shardings=self._state_places)
        return of([make(np.uint32(seed)) for seed in self.train.member_seeds])

    def update(self) -> TrainStep:
        """One member's update as a pure function."""
        return TrainStep(
            self.definition,
            self.objectives,
            self.optimizer,
            self.train.steps,
            self.train.accumulate,
        )

    def step(self) -> Compiled:
        """The compiled update of all members; donates the state."""
        places, place = self._state_places, batch_sharding(self.mesh)
        update, seeds = self.update(), self.train.member_seeds
        if len(seeds) > 1:
            return over_members(update, seeds, self.train.members, places, place)
        return jax.jit(
            lambda state, batch: update(state, batch, seeds[0]),
            in_shardings=(places, place),
            out_shardings=(places, replicated(self.mesh)),
            donate_argnums=0,
        )

    @property
    def _state_places(self) -> TrainState:
        return jax.tree.map(lambda s: s.sharding, self.abstract_member())

    def member(self, number: int) -> "Trainer":
        """What trains member `number` alone."""
        if self.train.seeds == 1:
            return self
        seed = self.train.member_seeds[number]
        return dataclasses.replace(
            self,
            dataset=self.dataset.with_seed(self.dataset.config.seed + number),
            train=dataclasses.replace(self.train, seed=seed, seeds=1),
        )

    def batches(self, start: int) -> Iterator[Batches]:
        """Batches of all members from step `start` on, on the mesh."""
        members = [self.member(i) for i in range(self.train.seeds)]
        place, size = batch_sharding(self.mesh), self.train.batch_size
        mine = shard(place, size)
        streams = [m.dataset.train(size, start=start, shard=mine) for m in members]
        for batches in zip(*streams, strict=True):
            yield of([spread(batch, place, size) for batch in batches])
