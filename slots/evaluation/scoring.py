"""Scores of masks and label maps under a protocol, whoever made them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slots import metrics
from slots.config import ConfigError
from slots.data.framing import Framing
from slots.evaluation.protocols import Protocol
from slots.types import Batch

MASK_METRICS = (
    "fg_ari",
    "ari",
    "mbo",
    "miou",
    "mbo_class",
    "miou_class",
    "recall",
    "corloc",
)
"""In the order they are reported in; those of classes need a map of classes."""
POOLED = ("pq", "ap50")
"""Scores that belong to all pictures together and to none alone; computed where the protocol is for
one. Panoptic quality, and class-agnostic average precision of slots."""
WEIGHTS = {
    "mbo": "objects",
    "miou": "objects",
    "recall": "objects",
    "mbo_class": "classes",
    "miou_class": "classes",
}
"""What `average=per_object` weighs an example's value by."""
ATTENTION = "_attention"
"""Ending of the names of values that come from the slot module's attention."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many labels there can be, beside the background."""

    objects: int
    classes: int = 0


def truth(batch: Batch, protocol: Protocol) -> Batch:
    """The batch with label maps of the protocol's size, which is seen to on the host."""
    if batch.segmentation is None or protocol.size in (None, batch.segmentation.shape[-2:]):
        return batch
    framing, size = Framing(fit="center"), protocol.size

    def fitted(maps: Any) -> Any:
        if maps is None:
            return None
        flat = np.asarray(maps).reshape(-1, *maps.shape[-2:])
        framed = np.stack([framing.labels(one, size) for one in flat])
        return jnp.asarray(framed.reshape(*maps.shape[:-2], *size))

    names = ("segmentation", "ignore", "semantic")
    return dataclasses.replace(batch, **{name: fitted(getattr(batch, name)) for name in names})


def mask_scores(
    sources: Mapping[str, Float[Array, "b *t k h w"]],
    batch: Batch,
    sizes: Sizes,
    protocol: Protocol,
) -> tuple[dict[str, Float[Array, "b"]], dict[str, Array]]:
    """Values per example of soft masks, and rows of which pooled scores are made.

    Args:
        sources: masks by the ending of their values' names: nothing for the decoder's, `ATTENTION`.
        batch: the truth, see `truth`.
        sizes: static.
        protocol: static.

    Raises:
        ConfigError: masks have another size than the truth, and the protocol does not resize.
    """
    true = batch.segmentation
    assert true is not None
    size = (true.shape[-2], true.shape[-1])
    values: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    if protocol.masks == "attention" and ATTENTION in sources:
        sources = {"": sources[ATTENTION]}
    for ending, masks in sources.items():
        labels = _labels(masks, size, protocol)
        found = label_scores(labels, masks.shape[-3], batch, sizes, protocol)
        values |= {name + ending: value for name, value in found.items()}
        if protocol.metric in POOLED and masks.ndim == 4:
            big = jax.image.resize(masks, (*masks.shape[:2], *size), "bilinear", antialias=False)
            rows |= _pooled(protocol.metric + ending, big, batch, sizes)
    return values, rows | segment_counts(batch, sizes, protocol)


def label_scores(
    pred: Int[Array, "b *t h w"], count: int, batch: Batch, sizes: Sizes, protocol: Protocol
) -> dict[str, Float[Array, "b"]]:
    """`MASK_METRICS` per example, of label maps as large as the truth's.

    Args:
        pred: labels 0 to `count` - 1; clips [B,T,H,W] are examples as a whole.
        count: static, of labels.
        batch: the truth.
        sizes: static.
        protocol: static.
    """
    true, ignore, semantic = batch.segmentation, batch.ignore, batch.semantic
    assert true is not None
    maps = {"true": true, "pred": pred, "ignore": ignore, "semantic": semantic}
    given = {name: x for name, x in maps.items() if x is not None}
    if true.ndim == 4 and protocol.frames == "from_second":
        given = {name: x[:, 1:] for name, x in given.items()}
    if true.ndim == 4 and protocol.frames == "each":
        frames = {name: x.reshape(-1, *x.shape[2:]) for name, x in given.items()}
        found = _values(**frames, count=count, sizes=sizes, protocol=protocol)
        return {n: jnp.nanmean(x.reshape(true.shape[:2]), axis=1) for n, x in found.items()}
    return _values(**given, count=count, sizes=sizes, protocol=protocol)


def segment_counts(batch: Batch, sizes: Sizes, protocol: Protocol) -> dict[str, Int[Array, "b"]]:
    """Segments and classes in every example, `WEIGHTS` of its values."""
    found = {}
    maps = {"objects": batch.segmentation, "classes": batch.semantic if sizes.classes else None}
    for name, labels in maps.items():
        if labels is not None:
            options: Any = {"ignore": batch.ignore, "num_true": getattr(sizes, name) + 1}
            count = metrics.segment_count(labels, background=protocol.background, **options)
            found[name] = count
    return found


def _values(
    *,
    true: Int[Array, "b *t h w"],
    pred: Int[Array, "b *t h w"],
    count: int,
    sizes: Sizes,
    protocol: Protocol,
    ignore: Any = None,
    semantic: Any = None,
) -> dict[str, Float[Array, "b"]]:
    options: Any = {"ignore": ignore, "num_pred": count}
    counts = metrics.contingency(true, pred, num_true=sizes.objects + 1, **options)
    strict = protocol.strict
    values = {
        "fg_ari": metrics.adjusted_rand_index_from_counts(counts, ignore_background=True),
        "ari": metrics.adjusted_rand_index_from_counts(counts),
        **_overlap(counts, "", protocol),
        "recall": metrics.object_recall_from_counts(counts, strict=strict),
        "corloc": metrics.corloc(true, pred, num_true=sizes.objects + 1, strict=strict, **options),
    }
    if semantic is not None and sizes.classes:
        classes = metrics.contingency(semantic, pred, num_true=sizes.classes + 1, **options)
        values |= _overlap(classes, "_class", protocol)
    return {name: values[name] for name in MASK_METRICS if name in values}


def _pooled(
    name: str, masks: Float[Array, "b k h w"], batch: Batch, sizes: Sizes
) -> dict[str, Array]:
    """What each picture adds to a score of all."""
    true = batch.segmentation
    assert true is not None
    options: Any = {"ignore": batch.ignore, "num_true": sizes.objects + 1}
    if name.startswith("ap50"):
        found = metrics.slot_detections(true, masks, **options)
        return {f"{name}/{field}": value for field, value in found._asdict().items()}
    labels = metrics.confident_labels(masks)
    counts = metrics.contingency(true, labels, num_pred=masks.shape[1] + 1, **options)
    return {name: jnp.stack(metrics.panoptic_counts_from_counts(counts), axis=-1)}


def _overlap(
    counts: Int[Array, "b c k"], ending: str, protocol: Protocol
) -> dict[str, Float[Array, "b"]]:
    background, either = protocol.background, protocol.denominator == "either"
    return {
        "mbo" + ending: metrics.mean_best_overlap_from_counts(counts, background=background),
        # Of all segments the background's slot would be a false one, were it not a segment.
        "miou" + ending: metrics.mean_iou_from_counts(
            counts, background=background or either, denominator=protocol.denominator
        ),
    }


def _labels(
    masks: Float[Array, "b *t k h w"], size: tuple[int, int], protocol: Protocol
) -> Int[Array, "b *t y x"]:
    if protocol.resize == "none" and masks.shape[-2:] != size:
        raise ConfigError(
            f"Protocol {protocol.id} resizes nothing, but masks are {masks.shape[-2:]}, the truth "
            f"is {size}."
        )
    if protocol.resize == "nearest":
        return metrics.resize_labels(metrics.labels_from_masks(masks), size)
    return metrics.labels_from_masks(masks, size)
