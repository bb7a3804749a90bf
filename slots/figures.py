"""The figures of a run: what `slots show` writes."""

import itertools
from pathlib import Path

import jax
import numpy as np

from slots import visualize
from slots.experiment import Run
from slots.training import read_records
from slots.types import Batch

_CURVES = ("loss", "fg_ari", "ari", "mbo", "miou", "mse_mean", "grad_norm", "learning_rate")


def write_figures(run: Run, count: int = 8) -> list[Path]:
    """Draws the first `count` held-out scenes, and the training curves, into `figures/`.

    Returns:
        The files written: `reconstructions.png`, `slots.png`, `attention.png`, `curves.png`.
    """
    config = run.experiment.config
    dataset = run.experiment.dataset
    found = dataset.held_out(config.eval.split, count, count)
    batch: Batch = next(itertools.islice(found, 1))
    prediction = jax.device_get(run.predict(batch.image, seed=config.eval.seed))
    images = np.asarray(jax.device_get(batch.pixels))
    attention = prediction.grouping.diagnostics.get("attention_per_iteration")
    drawn = prediction.reconstruction
    figures = {}
    if drawn is not None:
        background = -1 if drawn.masks.shape[1] > attention.shape[2] else None
        figures["reconstructions"] = visualize.reconstruction_grid(
            images,
            run.model.to_image(drawn.output),
            drawn.masks,
            segmentation=batch.segmentation,
            background=background,
        )
        if drawn.parts is not None:
            figures["slots"] = visualize.slot_parts(
                images, run.model.to_image(drawn.parts), drawn.masks, background=background
            )
    if attention is not None:
        figures["attention"] = visualize.attention_iterations(
            images[0], attention[0], grid=prediction.tokens.grid
        )
    records = read_records(run.folder / "metrics.jsonl")
    names = [name for name in _CURVES if any(name in record for record in records)]
    if names:
        figures["curves"] = visualize.training_curves(records, names)
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=120)
        paths.append(path)
    return paths
