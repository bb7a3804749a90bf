"""Runs: an experiment trained in a folder, restored from it, and evaluated."""

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from slots.config import ConfigError, override, replace
from slots.evaluation import (
    Evaluation,
    Evaluator,
    make_predict,
    merge,
    protocol,
    score_references,
)
from slots.evaluation.scoring import Sizes
from slots.experiment import Experiment, ExperimentConfig, build, parameter_table
from slots.models import Model, compose, dictionary, seen_codes
from slots.processes import at_home, meet
from slots.run_folder import (
    alone,
    check_folder,
    collapsed_runs,
    default_folder,
    read_config,
    save_values,
    set_aside,
    write_header,
)
from slots.training import Checkpoints, Collapsed, MeshConfig, RunError, fit
from slots.training.members import State, each, updates
from slots.types import Batch, Prediction, Reconstruction, TrainState

log = logging.getLogger("slots")


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained, or half-trained, experiment and the folder it lives in.

    With `train.seeds` above 1 it has several members. `member(i)` is the run of one; `params`,
    `model`, `predict` and `compose` belong to that, and raise ConfigError for several at once.
    """

    folder: Path
    experiment: Experiment
    state: State
    """With several members a tuple of theirs."""
    number: int | None = None
    """Which of the folder's members this is, where it has several and this is one."""

    @property
    def step(self) -> int:
        """Updates made."""
        return updates(self.state)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Each member's `train.seed`."""
        return self.experiment.config.train.member_seeds

    def member(self, number: int) -> "Run":
        """The run of member `number`, with `train.seed` and `data.seed` that much higher.

        Raises:
            ConfigError: there is no such member; they count from 0.
        """
        count = len(self.seeds)
        if not 0 <= number < count:
            there = "one member, 0" if count == 1 else f"members 0 to {count - 1}"
            raise ConfigError(f"member={number}: the run {self.folder} has {there}.")
        if count == 1:
            return self
        one = each(self.state)[number]
        return Run(self.folder, self.experiment.member(number), one, number)

    @property
    def params(self) -> Any:
        """What is evaluated: the moving average where one is kept, else the parameters."""
        return self._lone.eval_params

    @property
    def variables(self) -> Any:
        """State that is learned without a gradient, such as a dictionary's; empty for most."""
        return self._lone.variables

    @property
    def _lone(self) -> TrainState:
        if isinstance(self.state, tuple):
            raise ConfigError(
                f"The run {self.folder} has {len(self.seeds)} members, with seeds {self.seeds[0]} "
                f"to {self.seeds[-1]}; choose one, as in run.member(0)."
            )
        return self.state

    @property
    def model(self) -> Model:
        """The model bound to `params`."""
        return self.experiment.definition.bind(self.params)

    def predict(self, images: Any, seed: int = 0) -> Prediction:
        """What the model makes of pictures of one's own.

        Args:
            images: [B,H,W,C] in the size the run was trained on; uint8, or floats in [0, 1].
            seed: of the first slots.

        Returns:
            The prediction; `run.model.to_image` brings its output to [0, 1].

        Raises:
            ConfigError: the pictures have another shape.
        """
        batch = self._batch(images)
        predict = make_predict(self.experiment.definition, seed)
        # The model itself is no array; only the prediction may leave the compiled function.
        return jax.jit(lambda *args: predict(*args)[1])(self.params, self.variables, batch)

    def compose(self, seen: Prediction, count: int = 8, seed: int = 0) -> Reconstruction:
        """New scenes of a dictionary's entries: those that pictures of one's own fall to.

        Args:
            seen: what `predict` makes of the pictures.
            count: of scenes.
            seed: of what is drawn.

        Returns:
            What is drawn, `count` of it; `run.model.to_image` brings its output to [0, 1].

        Raises:
            ConfigError: the model draws no pictures from a dictionary.
        """
        size = dictionary(self.model).num_entries
        allowed = seen_codes(seen.grouping.diagnostics["codes"], size)

        def drawn(params: Any, variables: Any, keys: Key[Array, "b"]) -> Reconstruction:
            bound: Any = self.experiment.definition.bind(params)
            return compose(bound, variables, seen.tokens, allowed, keys)[1]

        keys = jax.random.split(jax.random.key(seed), count)
        return jax.jit(drawn)(self.params, self.variables, keys)

    def _batch(self, images: Any) -> Batch:
        images = np.asarray(images)
        shape = self.experiment.dataset.image_shape
        if images.ndim != 4 or images.shape[1:] != shape:
            raise ConfigError(
                f"The run expects pictures [B, {', '.join(map(str, shape))}], got {images.shape}."
            )
        if images.dtype != np.uint8:
            images = images.astype(np.float32)
        return Batch(image=jnp.asarray(images), index=jnp.arange(len(images), dtype=jnp.int32))


def train(config: ExperimentConfig, run: str | Path | None = None) -> Run:
    """Trains `config` in the folder `run`, going on where an earlier call was stopped.

    Args:
        config: the experiment.
        run: the run folder; default `runs/<name>-<time>`.

    With `eval.collapse=restart` a run whose slots stay unhealthy is set aside in
    `<run>/collapsed-<seed>` and begun anew with the next seed, `eval.max_restarts` times at most.

    Raises:
        ConfigError: the settings do not work, or the folder holds another experiment.
        Busy: another process trains there.
        RunError: training could not go on; what was saved is safe.
    """
    folder = Path(run) if run is not None else default_folder(config.name)
    for _ in range(config.eval.max_restarts + 1):
        current = _next_seeds(config, folder)
        try:
            return _train(current, folder)
        except Collapsed as collapsed:
            last = len(collapsed_runs(folder)) >= config.eval.max_restarts
            if config.eval.collapse != "restart" or last:
                raise
            log.warning("%s The next seed is tried.", collapsed)
            set_aside(folder, current.train.seed)
    raise AssertionError("the last attempt returns or raises")


def _next_seeds(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """The settings with the seeds that come after those that collapsed in `folder`."""
    if (folder / "config.json").exists():
        seed = read_config(folder).train.seed
        if (folder / f"collapsed-{seed}").exists():
            set_aside(folder, seed)
        elif seed == config.train.seed:
            return config  # the folder's own settings
    step = len(collapsed_runs(folder)) * config.train.seeds
    seeds = {"train__seed": config.train.seed + step, "data__seed": config.data.seed + step}
    return replace(config, **seeds) if step else config


def _train(config: ExperimentConfig, folder: Path) -> Run:
    check_folder(folder, config)
    experiment = build(config)
    evaluator = Evaluator(
        experiment.definition, experiment.dataset, config.eval, experiment.trainer.mesh
    )
    parameters = parameter_table(experiment)  # settings that do not fit leave no folder behind

    def evaluate_state(state: State, step: int) -> dict[str, Any]:
        result = _score(evaluator, state)
        save_values(folder, f"{config.eval.split}-{step}", result)
        found: dict[str, Any] = {n: s.as_dict() for n, s in result.statistics.items()}
        found["protocol"] = result.protocol.id
        if result.verdicts:
            found["verdicts"] = [dataclasses.asdict(verdict) for verdict in result.verdicts]
        return found

    with alone(folder):
        check_folder(folder, config)  # another process may have begun a run since
        meet("settings checked")  # against what the folder held before
        write_header(folder, config, parameters)
        meet("settings written")
        state = fit(
            experiment.trainer,
            folder,
            checkpoint=config.checkpoint,
            logging_config=config.log,
            evaluate=evaluate_state,
            evaluate_every=config.eval.every,
            on_collapse=config.eval.collapse,
        )
    return Run(folder, experiment, at_home(state))


def restore(
    run: str | Path,
    *,
    step: int | Literal["latest", "best"] = "latest",
    overrides: Sequence[str] = (),
) -> Run:
    """Reads a run folder. Nothing in it is executed.

    Args:
        run: the folder.
        step: which checkpoint.
        overrides: `key=value` changes that leave the parameters' shapes alone, such as
            `model.num_slots=11`, `model.module.eval_iterations=7` or `data.path=...`.

    Raises:
        ConfigError: the folder is no run, or an override is wrong.
        RunError: no checkpoint is sound, or the overrides change the parameters.
    """
    folder = Path(run)
    config = override(read_config(folder), overrides)
    # Parameters go where this machine has room, not where they were trained.
    here: dict[str, Any] = {"train__batch_size": jax.device_count(), "train__accumulate": 1}
    experiment = build(replace(config, mesh=MeshConfig(), **here))
    experiment = dataclasses.replace(experiment, config=config)
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        wanted = step if isinstance(step, int) else None
        if step == "best":
            wanted = checkpoints.best()
            if wanted is None:
                raise RunError(f"{folder} has no checkpoint with a measured metric to be best by.")
        state, _ = checkpoints.restore(experiment.trainer.abstract_state(), wanted)
    return Run(folder, experiment, state)


def evaluate(run: Run) -> Evaluation:
    """Evaluates a run under its `eval` settings and saves the per-example values with it.

    All of its members, where it has several; `run.member(i)` evaluates one.
    """
    config = run.experiment.config.eval
    evaluator = Evaluator(
        run.experiment.definition, run.experiment.dataset, config, run.experiment.trainer.mesh
    )
    result = _score(evaluator, run.state)
    which = "" if run.number is None else f"-member{run.number}"
    save_values(run.folder, f"{config.split}-{run.step}{which}", result)
    return result


def references(run: Run) -> dict[str, Evaluation]:
    """What segmentations without learning score, with as many slots, where the run is evaluated.

    Raises:
        ConfigError: the data have no label maps.
    """
    config, dataset = run.experiment.config, run.experiment.dataset
    model: Any = config.model
    batches = dataset.held_out(config.eval.split, config.eval.batch_size, config.eval.count)
    sizes = Sizes(dataset.max_objects, dataset.semantic_classes)
    by = protocol(config.eval.protocol)
    return score_references(batches, model.num_slots, sizes, by, config.eval.seed)


def _score(evaluator: Evaluator, state: State) -> Evaluation:
    """Evaluates the members of `state`, each as if it were alone."""
    return merge([evaluator(one.eval_params, one.variables) for one in each(state)])
