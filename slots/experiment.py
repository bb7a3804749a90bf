"""The root of the settings tree, and the experiment that is made of it."""

import dataclasses

from slots.config import ConfigError, replace
from slots.data import DataConfig, Dataset
from slots.evaluation import EvaluationConfig
from slots.models import Definition, ModelConfig
from slots.objectives import ObjectiveConfig, ReconstructionConfig
from slots.training import (
    CheckpointConfig,
    LogConfig,
    MeshConfig,
    OptimizerConfig,
    TrainConfig,
    Trainer,
)
from slots.training.rules import named_leaves


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything that decides an experiment. `train.seed` and `data.seed` are separate."""

    name: str
    """The preset's, as `slots list` prints it."""
    model: ModelConfig
    data: DataConfig
    objectives: tuple[ObjectiveConfig, ...] = (ReconstructionConfig(),)
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    eval: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mesh: MeshConfig = MeshConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        kinds = [term.kind for term in self.objectives]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ConfigError(f"objectives={kinds} must name at least one term, each once.")
        count = self.train.seeds
        if count > 1 and self.data.seed > 2**32 - count:
            raise ConfigError(
                f"data.seed={self.data.seed} must be at most 2**32 - {count} with "
                f"train.seeds={count}."
            )


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment made of its settings: data opened, shapes checked, no arrays yet."""

    config: ExperimentConfig
    dataset: Dataset
    definition: Definition
    trainer: Trainer

    def member(self, number: int) -> "Experiment":
        """The experiment of one seed that member `number` is."""
        trainer = self.trainer.member(number)
        seeds = {"data__seed": trainer.dataset.config.seed, "train__seed": trainer.train.seed}
        config = replace(self.config, **seeds, train__seeds=1)
        return Experiment(config, trainer.dataset, self.definition, trainer)


def build(config: ExperimentConfig) -> Experiment:
    """Opens the data and builds the model abstractly.

    Raises:
        ConfigError: data are missing, shapes do not agree, or the mesh does not fit the machine.
    """
    dataset = config.data.make()
    if (classes := config.model.num_classes) not in (0, dataset.num_classes):
        raise ConfigError(
            f"model.classes={classes}, but the data have {dataset.num_classes} classes of "
            "scenes; the two must be the same."
        )
    definition = Definition.of(config.model, dataset.image_shape)
    trainer = Trainer.of(
        definition, config.objectives, dataset, config.optimizer, config.train, config.mesh
    )
    return Experiment(config, dataset, definition, trainer)


def parameter_table(experiment: Experiment) -> str:
    """Every parameter (of one member) with shape, dtype and placement, and the total."""
    params = named_leaves(experiment.trainer.abstract_member().params)
    rows = [
        (
            name,
            "×".join(map(str, x.shape)) or "1",
            str(x.dtype),
            f"{x.size:,}",
            str(x.sharding.spec),
        )
        for name, x in params.items()
    ]
    total = sum(x.size for x in params.values())
    rows = [("parameter", "shape", "dtype", "size", "placement"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    return "\n".join([*(line.rstrip() for line in lines), f"total {total:,}"])
