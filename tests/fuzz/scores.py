"""Metrics of arrays that are empty, of other sizes, negative, huge, or not finite."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slots import metrics

from .damage import Random
from .targets import Target

LABELS: tuple[Callable[..., Any], ...] = (
    metrics.adjusted_rand_index,
    metrics.mean_best_overlap,
    metrics.mean_iou,
    metrics.object_recall,
    metrics.segmentation_covering,
    metrics.contingency,
    metrics.corloc,
)
PICTURES: tuple[Callable[..., Any], ...] = (
    metrics.psnr,
    metrics.reconstruction_error,
    metrics.region_similarity,
)


SHAPES = ((0, 2, 3), (1, 0, 2), (2, 1, 1), (2, 3, 5), (3, 1, 5))
"""Few, for every one is compiled."""


def _labels(rng: Random) -> np.ndarray:
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    dtype = rng.choice(["int32", "int64", "uint8", "uint16", "int8"])
    largest = int(rng.choice([1, 3, 100, 2**31 - 1, 2**40]))
    lowest = int(rng.choice([0, 0, 0, -1, -(2**35)]))
    return rng.integers(lowest, largest, shape).astype(dtype)


def _spoilt(rng: Random, shape: tuple[int, ...]) -> jax.Array:
    values = rng.normal(size=shape) * 10.0 ** int(rng.choice([-300, -30, 0, 0, 30, 38]))
    if values.size:
        values.flat[int(rng.integers(values.size))] = rng.choice([np.nan, np.inf, -np.inf, 0.0])
    with np.errstate(over="ignore"):
        return jnp.asarray(values.astype(np.float32))


def _score(count: Iterator[int], rng: Random) -> None:
    if next(count) % 25 == 0:
        jax.clear_caches()  # hundreds of programs take more memory than any input
    if rng.random() < 0.7:
        function = LABELS[int(rng.integers(len(LABELS)))]
        true = _labels(rng)
        other = _labels(rng) if rng.random() < 0.3 else rng.permuted(true, axis=-1)
        found = function(true, other)
    elif rng.random() < 0.5:
        shape = tuple(int(n) for n in rng.choice([1, 2, 3, 8], 4))
        found = metrics.picture_health(_spoilt(rng, shape))
    else:
        function = PICTURES[int(rng.integers(2))]
        shape = (*(int(n) for n in rng.choice([1, 2, 4], 3)), 3)
        found = function(_spoilt(rng, shape), _spoilt(rng, shape))
    for values in found.values() if isinstance(found, dict) else [found]:
        np.asarray(values)


METRICS = Target("metrics", lambda folder: itertools.count(), _score, 0.02, refusals=(ValueError,))
