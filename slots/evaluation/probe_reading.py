"""What a probe reads: a model's slots, the objects in the truth, and which slot is whose."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from slots import metrics
from slots.config import ConfigError, nearest
from slots.evaluation.evaluate import make_predict, masks_of
from slots.evaluation.probe_fitting import ProbeConfig
from slots.evaluation.probe_targets import as_values
from slots.evaluation.scoring import ATTENTION
from slots.types import Batch, Prediction

Look = Callable[[PyTree, PyTree, Batch], dict[str, Array]]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a model makes of N examples, and what is known of them."""

    slots: Float[np.ndarray, "n k s"]
    slot: Int[np.ndarray, "n m"]
    """Of each object by masks; -1 = none."""
    objects: Bool[np.ndarray, "n m"]
    """True where there is one."""
    properties: Mapping[str, Shaped[np.ndarray, "n m *d"]]


def make_look(experiment: Any, config: ProbeConfig) -> Look:
    """A pure function of params, variables and batch: the arrays of `Seen`, without properties.

    Objects are the labels that the map shows; without a map, those marked as visible.
    """
    settings, most = experiment.config.eval, experiment.dataset.max_objects
    predict = make_predict(experiment.definition, settings.seed, settings.draws)

    def look(params: PyTree, variables: PyTree, batch: Batch) -> dict[str, Array]:
        prediction = predict(params, variables, batch)[1]
        objects = _objects(batch, most)
        slot = jnp.full(objects.shape, -1, jnp.int32)
        if config.matching == "masks":
            slot = _by_masks(prediction, batch, most, config)
        slots = prediction.grouping.slots.vectors.astype(jnp.float32)
        return {"slots": slots, "slot": slot, "objects": objects}

    return look


def read(
    look: Look,
    state: Any,
    batches: Iterable[Batch],
    count: int,
    names: Sequence[str] | None = None,
) -> Seen:
    """What a model makes of the first `count` examples.

    Args:
        look: of `make_look`, compiled.
        state: with `eval_params` and `variables`.
        batches: that many examples or more.
        count: how many.
        names: of properties; None for all.

    Raises:
        ConfigError: they have no such properties, or the slots are not finite.
    """
    rows = []
    for batch in batches:
        given = _chosen(batch.properties or {}, names)
        found = look(state.eval_params, state.variables, batch)
        properties = {name: as_values(np.asarray(x)) for name, x in given.items()}
        rows.append({**jax.device_get(found), "properties": properties})
    seen = Seen(**jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *rows))
    if not np.isfinite(seen.slots).all():
        raise ConfigError("The slots of the run are not finite, so that no probe can read them.")
    return seen


def _chosen(properties: Mapping[str, Any], names: Sequence[str] | None) -> Mapping[str, Any]:
    if not properties:
        raise ConfigError("The data have no properties of objects that a probe could tell.")
    for name in names or ():
        if name not in properties:
            hint = nearest(name, properties) or f"; there are {', '.join(properties)}."
            raise ConfigError(f"properties: the data have no {name!r}{hint}")
    return properties if names is None else {name: properties[name] for name in names}


def _objects(batch: Batch, most: int) -> Bool[Array, "b m"]:
    true = batch.segmentation
    if true is not None:
        nothing = jnp.zeros(true.shape, jnp.int32)
        options: Any = {"num_true": most + 1, "num_pred": 1, "ignore": batch.ignore}
        return metrics.contingency(true, nothing, **options)[:, 1:, 0] > 0
    if batch.visibility is None:
        raise ConfigError("The data do not say which objects there are.")
    return batch.visibility


def _by_masks(
    prediction: Prediction, batch: Batch, most: int, config: ProbeConfig
) -> Int[Array, "b m"]:
    """The slot of each object; -1 where it has none, or a decoder's background."""
    true = batch.segmentation
    if true is None:
        raise ConfigError("The data have no label maps to match masks with; say matching=loss.")
    sources = masks_of(prediction)
    ending = ATTENTION if config.masks == "attention" else ""
    if ending not in sources:
        raise ConfigError("The model draws no masks; say masks=attention.")
    masks = sources[ending]
    pred = metrics.labels_from_masks(masks, (true.shape[-2], true.shape[-1]))
    options: Any = {"num_true": most + 1, "num_pred": masks.shape[1], "ignore": batch.ignore}
    slot = metrics.match_slots(true, pred, **options)
    return jnp.where(slot < prediction.grouping.slots.vectors.shape[1], slot, -1)
