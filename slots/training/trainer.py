"""Everything static about training: settings, placements, the compiled update, the stream."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
from jax.sharding import Mesh

from slots.config import ConfigError
from slots.data.base import Dataset
from slots.models import Definition
from slots.objectives import ObjectiveConfig
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
from slots.types import Batch, TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch and seed of training."""

    steps: int = 500_000
    """Optimizer updates in all; may be raised when a run goes on."""
    batch_size: int = 64
    """Examples per update, over all devices and micro-batches."""
    seed: int = 0
    """Of parameters and draws; the data has its own."""
    accumulate: int = 1
    """Micro-batches per update."""
    max_skipped: int = 100
    """Updates that may be skipped for a loss or gradient that is not finite before the run ends."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"train.seed={self.seed} must be at least 0 and below 2**32.")
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

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and placements of the state; makes no array."""
        shapes = jax.eval_shape(self._init)
        places = param_shardings(shapes.params, self.mesh, self.mesh_config.rules)
        shardings = like_params(shapes, shapes.params, places, self.mesh)
        return jax.tree.map(
            lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
            shapes,
            shardings,
        )

    def _init(self) -> TrainState:
        key = jax.random.key(self.train.seed)
        return init_state(self.definition, self.optimizer, self.train.steps, key)

    def init(self) -> TrainState:
        """A fresh state, each array made where it belongs."""
        shardings = jax.tree.map(lambda s: s.sharding, self.abstract_state())
        return jax.jit(self._init, out_shardings=shardings)()

    def step(self) -> Compiled:
        """The compiled update; donates the state."""
        shardings = jax.tree.map(lambda s: s.sharding, self.abstract_state())
        update = TrainStep(
            self.definition,
            self.objectives,
            self.optimizer,
            self.train.steps,
            self.train.seed,
            self.train.accumulate,
        )
        return jax.jit(
            update,
            in_shardings=(shardings, batch_sharding(self.mesh)),
            out_shardings=(shardings, replicated(self.mesh)),
            donate_argnums=0,
        )

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches from step `start` on, on the mesh."""
        place = batch_sharding(self.mesh)
        for batch in self.dataset.train(self.train.batch_size, start=start):
            yield jax.device_put(batch, place)
