"""Evaluation of a model on held-out examples."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree, Shaped

from slots import metrics
from slots.config import ConfigError
from slots.data.base import Dataset
from slots.evaluation.accumulate import Accumulator
from slots.evaluation.classes import class_rows, class_scores, class_values
from slots.evaluation.codes import code_rows, code_scores
from slots.evaluation.evaluation import Evaluation, conclude
from slots.evaluation.health import health_rows, judge
from slots.evaluation.protocols import Protocol, protocol
from slots.evaluation.scoring import ATTENTION, Sizes, mask_scores, truth
from slots.evaluation.sets import average_precisions, set_rows
from slots.models import Definition, Model
from slots.processes import spread_whole
from slots.types import Batch, Context, Prediction

OnCollapse = Literal["say", "stop", "restart"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """On what and how to evaluate."""

    every: int = 5000
    """Steps between evaluations while training; the last step is always evaluated."""
    split: str = "val"
    count: int | None = 320
    """First so many examples of the split; null for all."""
    batch_size: int = 64
    """Does not change the numbers."""
    seed: int = 0
    """Of the draws that evaluation makes (first slots), the same at every step."""
    draws: int = 1
    """Of first slots for each example; pictures, masks, attention and slots are their means. Only
    where a slot stays the same one from draw to draw, as with a dictionary (CoSA takes 10)."""
    protocol: str = "house/image"
    collapse: OnCollapse = "say"
    """Where slots got the same unhealthy verdict at three evaluations in a row, after a tenth of
    training: `stop` ends training (of several members, when it holds for all), `restart` begins
    anew with the next seed."""
    max_restarts: int = 3

    def __post_init__(self) -> None:
        for name in ("every", "batch_size", "draws"):
            if getattr(self, name) < 1:
                raise ConfigError(f"eval.{name}={getattr(self, name)} must be at least 1.")
        if self.split == "train":
            raise ConfigError("eval.split=train is not held out; use val or test.")
        if self.count is not None and self.count < 1:
            raise ConfigError(f"eval.count={self.count} must be at least 1, or null for all.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"eval.seed={self.seed} must be at least 0 and below 2**32.")
        if self.max_restarts < 0:
            raise ConfigError(f"eval.max_restarts={self.max_restarts} must be 0 or more.")
        protocol(self.protocol)


def make_predict(
    definition: Definition, seed: int, draws: int = 1
) -> Callable[[PyTree, PyTree, Batch], Any]:
    """A pure function of params, variables and batch that predicts without training.

    Draws depend on the seed and the example's number only. Of several `draws` it gives the mean of
    all floating-point numbers, and of others the first.
    """

    def predict(params: PyTree, variables: PyTree, batch: Batch) -> tuple[Model, Prediction]:
        model = definition.bind(params)

        def once(key: Key[Array, ""]) -> Prediction:
            context = Context(step=jnp.int32(0), key=key, train=False)
            return model(batch, context, variables)[0]

        key = jax.random.key(seed)
        if draws == 1:
            return model, once(key)
        every = jax.vmap(once)(jax.random.split(key, draws))
        return model, jax.tree.map(
            lambda x: x.mean(axis=0) if jnp.issubdtype(x.dtype, jnp.floating) else x[0], every
        )

    return predict


def picture_metrics(
    model: Model, prediction: Prediction, batch: Batch, sizes: Sizes, protocol: Protocol
) -> tuple[dict[str, Float[Array, "b"]], dict[str, Shaped[Array, "b *rest"]]]:
    """Every metric that the batch's labels allow, per example, and rows of pooled ones.

    Names without an ending come from the decoder's masks, those that end in `_attention` from the
    slot module's attention, unless the protocol takes that. `slot_count_error` is how far the
    number of active slots is from that of true segments, the background among them, where the
    model chooses that number.
    """
    values = class_values(prediction, batch)
    drawn = prediction.reconstruction
    if drawn is not None:
        pixels = batch.pixels
        picture = model.to_image(drawn.output)
        values["mse_mean"] = metrics.reconstruction_error(pixels, picture, reduce="mean")
        values["mse_sum"] = metrics.reconstruction_error(pixels, picture, reduce="sum")
        values["psnr"] = metrics.psnr(pixels, picture)
    if batch.segmentation is None:
        return values, {}
    found, rows = mask_scores(masks_of(prediction), batch, sizes, protocol)
    values |= found
    active = prediction.grouping.slots.active
    if active is not None:
        here = metrics.segment_count(
            batch.segmentation, ignore=batch.ignore, num_true=sizes.objects + 1
        )
        values["slot_count_error"] = jnp.abs(active.sum(axis=1) - here).astype(jnp.float32)
    return values, rows


def masks_of(prediction: Prediction) -> dict[str, Float[Array, "b k h w"]]:
    """The decoder's masks, where it draws some, and attention, by the ending of their scores."""
    attention = prediction.grouping.attention
    grid = prediction.tokens.grid
    sources = {ATTENTION: attention.reshape(*attention.shape[:2], *grid)}
    if prediction.reconstruction is not None:
        sources = {"": prediction.reconstruction.masks, **sources}
    return sources


class Evaluator:
    """Evaluates one model on one data set; compiles once.

    Raises:
        ConfigError: there is no such split, or it holds fewer examples than asked for.
    """

    def __init__(
        self, definition: Definition, dataset: Dataset, config: EvaluationConfig, mesh: Mesh
    ):
        self.dataset, self.config, self.mesh = dataset, config, mesh
        self.protocol = protocol(config.protocol)
        self.protocol.check(dataset.config)
        held = dataset.size(config.split)
        if held is not None and config.count is not None and config.count > held:
            raise ConfigError(
                f"eval.count={config.count}, but the split {config.split!r} holds {held} examples."
            )
        predict = make_predict(definition, config.seed, config.draws)
        sizes = Sizes(dataset.max_objects, dataset.semantic_classes)

        def measure(params: PyTree, variables: PyTree, batch: Batch) -> Any:
            model, prediction = predict(params, variables, batch)
            values, rows = picture_metrics(model, prediction, batch, sizes, self.protocol)
            rows |= health_rows(prediction, batch, dataset.max_objects)
            rows |= set_rows(prediction) | code_rows(prediction) | class_rows(prediction, batch)
            return values, rows

        everywhere = NamedSharding(mesh, PartitionSpec())
        self._definition = definition
        self._measure = jax.jit(measure, out_shardings=everywhere)

    def __call__(self, params: PyTree, variables: PyTree) -> Evaluation:
        """Evaluates the held-out examples of the settings."""
        config = self.config
        devices = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        size = -(-config.batch_size // devices) * devices
        place = NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))
        found = Accumulator()
        for batch in self.dataset.held_out(config.split, size, config.count):
            padded = _pad(truth(batch, self.protocol), size)
            measured = self._measure(params, variables, spread_whole(padded, place))
            found.add(np.asarray(padded.index), *jax.device_get(measured))
        arrays = found.arrays()
        health, verdicts = judge(arrays)
        pooled = average_precisions(self._definition.bind(params), arrays)
        pooled |= code_scores(variables, arrays) | class_scores(arrays) | health
        return conclude(found, self.protocol, pooled, verdicts)


def _pad(batch: Batch, size: int) -> Batch:
    """Repeats the first example up to `size`; its number marks the copies."""

    def pad(x: Any) -> Any:
        missing = size - x.shape[0]
        if not missing:
            return x
        return np.concatenate([np.asarray(x), np.repeat(np.asarray(x[:1]), missing, axis=0)])

    return jax.tree.map(pad, batch)
