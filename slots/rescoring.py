"""A run's masks: predicted once, saved, and scored under any protocol."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np

from slots.config import ConfigError
from slots.data import DataConfig
from slots.evaluation import Evaluation, Protocol, make_predict, merge, score_references
from slots.evaluation.evaluate import masks_of
from slots.evaluation.explain import Switch, explain
from slots.evaluation.mask_files import TRUTH, MaskFile, score_masks, write_masks
from slots.evaluation.scoring import ATTENTION
from slots.runs import Run
from slots.types import Batch


def predicted_masks(run: Run) -> Iterator[dict[str, np.ndarray]]:
    """Masks, truth, pictures and numbers of the examples that the run is evaluated on.

    Arrays are those of `slots.evaluation.mask_files`, a batch at a time.

    Args:
        run: of one member.

    Raises:
        ConfigError: the data have no label maps.
    """
    config = run.experiment.config.eval
    predict = make_predict(run.experiment.definition, config.seed, config.draws)
    masks = jax.jit(lambda *given: masks_of(predict(*given)[1]))
    names = {"": "masks", ATTENTION: "attention"}
    dataset = run.experiment.dataset
    for batch in dataset.held_out(config.split, config.batch_size, config.count):
        found = jax.device_get(masks(run.params, run.variables, batch))
        arrays = {names[ending]: x for ending, x in found.items()}
        yield {**arrays, **_truth(batch), "image": np.asarray(batch.image)}


def save_masks(run: Run, path: Path) -> list[Path]:
    """Saves what evaluation scores, so that other protocols need no model.

    Args:
        run: with several members, each has a file of its own, `<name>-seed<seed>.npz`.
        path: ends in `.npz`.

    Returns:
        The files written.
    """
    config, several = run.experiment.config, len(run.seeds) > 1
    written = []
    for number, seed in enumerate(run.seeds):
        place = path.with_name(f"{path.stem}-seed{seed}{path.suffix}") if several else path
        about = {
            "run": str(run.folder),
            "name": config.name,
            "step": run.step,
            "seed": seed,
            "split": config.eval.split,
        }
        count = config.eval.count or run.experiment.dataset.size(config.eval.split)
        assert count is not None  # held-out splits end
        write_masks(place, predicted_masks(run.member(number)), count, about)
        written.append(place)
    return written


def file_references(file: MaskFile, protocol: Protocol) -> dict[str, Evaluation]:
    """What segmentations without learning score on a file's pictures, with as many slots.

    Raises:
        ConfigError: it has no pictures.
    """
    if "image" not in file.arrays:
        raise ConfigError(f"References are made of pictures, and {file.path} has no array image.")
    batches = (batch for _, batch in file.batches(64))
    return score_references(batches, file.count, file.sizes, protocol)


def explain_run(run: Run, first: Protocol, other: Protocol) -> list[Switch]:
    """What separates two protocols on a run's masks, which are kept in memory.

    Fields that say how the truth is read are switched where the data have such settings.

    Raises:
        ConfigError: the data have no label maps.
    """
    config = run.experiment.config
    members = [_joined(predicted_masks(run.member(i))) for i in range(len(run.seeds))]
    truths: dict[DataConfig, dict[str, np.ndarray]] = {config.data: {}}  # stands beside the masks

    def score(protocol: Protocol) -> Evaluation:
        data = _read_as(config.data, protocol)
        if data not in truths:
            batches = data.make().held_out(
                config.eval.split, config.eval.batch_size, config.eval.count
            )
            truths[data] = _joined(_truth(batch) for batch in batches)
        files = [MaskFile(run.folder, {**member, **truths[data]}) for member in members]
        return merge([score_masks(file, protocol, config.eval.batch_size) for file in files])

    return explain(score, first, other)


def _read_as(data: DataConfig, protocol: Protocol) -> DataConfig:
    """Settings of data that read the truth as the protocol says, where they can."""
    there = {f.name for f in dataclasses.fields(data)}
    return dataclasses.replace(
        data, **{n: value for n, value in protocol.reading.items() if n in there}
    )


def _truth(batch: Batch) -> dict[str, np.ndarray]:
    if batch.segmentation is None:
        raise ConfigError("Masks are scored by label maps, which these data have not.")
    given = {name: getattr(batch, name) for name in (*TRUTH, "index")}
    return {name: np.asarray(x) for name, x in given.items() if x is not None}


def _joined(batches: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    found = list(batches)
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}
