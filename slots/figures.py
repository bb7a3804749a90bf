"""The figures of a run, and of a data set: what `slots show` and `slots data show` write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slots import visualize
from slots.data import Dataset
from slots.evaluation import hits
from slots.evaluation.evaluation import measured_by
from slots.files import writing
from slots.models import ImageModel, SetPrediction
from slots.run_folder import read_config
from slots.runs import Run
from slots.training import read_records
from slots.types import Batch, Prediction

HEALTH = ("entropy", "effective_slots", "duplicate_rate", "dead_rate", "position_score")
_SCORES = (
    "fg_ari",
    "ari",
    "mbo",
    "miou",
    "ap_inf",
    "ap_0.5",
    "accuracy",
    "macro_f1",
    "hmc",
    "mse_mean",
)
CURVES = ("loss", *_SCORES, "grad_norm", "learning_rate")


def write_figures(run: Run, count: int = 8) -> list[Path]:
    """Draws held-out scenes and the training curves into `figures/`.

    Args:
        run: what to draw; of several members, the scenes of the first and the curves of all.
        count: of scenes, the first of the evaluation split; fewer where it holds fewer.

    Returns:
        The files written: `reconstructions.png`, `slots.png`, `attention.png`, `curves.png`,
        `health.png` (curves of slot health), `frames.png` where slots carry frames, `composed.png`
        (new scenes) where slots come from a dictionary, and `sets.png` where objects' properties
        are predicted.
    """
    run = run.member(0)
    config = run.experiment.config
    batch, prediction, background = seen(run, count)
    grouping, drawn = prediction.grouping, prediction.reconstruction
    images, model = batch.pixels, run.model
    attention = grouping.diagnostics.get("attention_per_iteration", grouping.attention[:, None])
    frames = grouping.slots.frames
    figures = {}
    if drawn is not None:
        figures["reconstructions"] = visualize.reconstruction_grid(
            images,
            model.to_image(drawn.output),
            drawn.masks,
            segmentation=batch.segmentation,
            background=background,
        )
        if drawn.parts is not None:
            figures["slots"] = visualize.slot_parts(
                images, model.to_image(drawn.parts), drawn.masks, background=background
            )
        if frames is not None and frames.position is not None:
            figures["frames"] = visualize.frame_overlay(
                images,
                drawn.masks,
                frames.position,
                frames.scale,
                frames.rotation,
                background=background,
            )
        if isinstance(model, ImageModel) and model.initializer.num_entries:
            scenes = run.compose(prediction, len(images), config.eval.seed)
            if scenes.parts is not None:
                figures["composed"] = visualize.slot_parts(
                    None, model.to_image(scenes.parts), scenes.masks, background=background
                )
    if isinstance(model, SetPrediction) and batch.properties is not None:
        rows = {
            "properties": np.asarray(prediction.outputs["properties"]),
            "target": np.asarray(model.layout.encode(batch.properties, model.config.coordinates)),
        }
        figures["sets"] = visualize.predicted_sets(
            images, rows["properties"], hits(model, rows), model.layout
        )
    figures["attention"] = visualize.attention_iterations(
        images[0], attention[0], grid=prediction.tokens.grid
    )
    records = read_records(run.folder / "metrics.jsonl")
    told = _measured_by(run, records)
    wanted = {"curves": CURVES, "health": [f"health/{name}" for name in HEALTH]}
    there = visualize.quantities(records)
    for title, curves in wanted.items():
        names = [name for name in curves if name in there]
        if names:
            figures[title] = visualize.training_curves(records, names, caption=told)
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        with writing(path):
            figure.savefig(path, dpi=120)
        paths.append(path)
    return paths


def seen(run: Run, count: int) -> tuple[Batch, Prediction, int | None]:
    """What is drawn of a run: scenes, what it makes of them, and which component is no slot.

    Args:
        run: of one member.
        count: of scenes, the first of the evaluation split; fewer where it holds fewer.
    """
    config, dataset = run.experiment.config.eval, run.experiment.dataset
    count = min(count, dataset.size(config.split) or count)
    batch = next(dataset.held_out(config.split, count, count))
    prediction = run.predict(batch.image, seed=config.seed)
    drawn, slots = prediction.reconstruction, prediction.grouping.attention.shape[1]
    background = -1 if drawn is not None and drawn.masks.shape[1] > slots else None
    return batch, prediction, background


def write_scenes(dataset: Dataset, split: str, count: int, path: Path) -> list[str]:
    """Draws the first scenes of a split as a model gets them, and their label maps below.

    Args:
        dataset: which.
        split: its name; `train` draws the first that are trained on.
        count: of scenes; fewer where the split holds fewer.
        path: of the picture, in a format that its ending names.

    Returns:
        What there is, in words.
    """
    size = dataset.size(split)
    count = min(count, size or count)
    batches = dataset.train(count) if split == "train" else dataset.held_out(split, count, count)
    batch = next(batches)
    labels = batch.segmentation
    figure = visualize.segmentation_overlay(
        batch.pixels,
        np.zeros((count, 1, 1), np.int32) if labels is None else labels,
        ignore=batch.ignore,
        pictures=labels is not None,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        figure.savefig(path, dpi=120)
    found = ["without label maps" if labels is None else f"labels up to {dataset.max_objects}"]
    if labels is not None and labels.shape[1:] != dataset.image_shape[:2]:
        found.append("label maps of {}×{}".format(*labels.shape[1:]))
    for name, values in (batch.properties or {}).items():
        found.append(f"{name} {values.dtype}{list(values.shape[2:]) or ''}")
    fields = [n for n in ("ignore", "semantic", "label") if getattr(batch, n) is not None]
    height, width, channels = dataset.image_shape
    return [
        f"{split}: {'endless' if size is None else f'{size:,}'} examples of "
        f"{height}×{width}×{channels}, {', '.join([*found, *fields])}",
        f"the first {count} are in {path}",
    ]


def _measured_by(run: Run, records: Sequence[Mapping[str, Any]]) -> str:
    """Protocol, examples and seeds of the evaluations among the records; empty without one."""
    measured = [record for record in records if record["kind"] == "val"]
    if not measured:
        return ""
    members = read_config(run.folder).train.member_seeds  # the curves are of all
    return f"scores: {measured_by(measured[-1], members)}"
