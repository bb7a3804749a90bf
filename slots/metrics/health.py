"""Slot health: how masks look without any truth, and a verdict in words.

Modules differ most in how they fail. Every number here needs the masks of one fixed batch of
pictures alone, so that its curve over training means something.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_CELLS = 8
"""Side of the grid of cells that `position_score` looks at."""


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Where a verdict begins; calibrated on made-up masks."""

    uniform: float = 0.95
    """Of `entropy`, at least."""
    one_slot: float = 1.1
    """Of `effective_slots`, at most."""
    noise: float = 0.5
    """Of `neighbour_agreement`, below."""
    stripes: float = 0.7
    """Of `position_score` and the larger of row and column score, at least …"""
    stripes_across: float = 0.25
    """… and of the smaller, at most."""
    position_split: float = 0.8
    """Of `position_score`, at least."""
    layout_biased: float = 0.5
    """Of `position_score`, at least: a warning."""
    position_over_truth: float = 0.3
    """How much more than the true masks' a `position_score` must be."""
    duplicates: float = 0.2
    """Of `duplicate_rate`, at least."""
    dead: float = 0.25
    """Of `dead_rate`, at least …"""
    dead_images: int = 256
    """… over so many pictures."""


THRESHOLDS = Thresholds()

VERDICTS = (
    "broken",
    "uniform",
    "one slot takes all",
    "noise",
    "stripes",
    "position split",
    "duplicates",
    "dead slots",
    "healthy",
)
"""In the order in which they are tried; the first that holds is it."""


def picture_health(masks: Float[Array, "b k h w"]) -> dict[str, Float[Array, "b *rest"]]:
    """What `slot_health` needs to know of each picture, whatever else is in the batch.

    Args:
        masks: soft masks that sum to 1 over K; at least two slots.

    Returns:
        Per picture [B]: `entropy`, `sharpness`, `neighbour_agreement`, `row_score`,
        `column_score`, `claims` and `doubles` (slots that claim something, and those of them that
        share it); [B,K]: `share` of the pixels won, `mass`; [B,K,64]: `cells`, masks on 8×8 cells.

    Raises:
        ValueError: fewer than two slots.
    """
    masks = jnp.asarray(masks, jnp.float32)
    if masks.ndim != 4 or masks.shape[1] < 2:
        raise ValueError(
            f"slot health needs masks [B,K,H,W] with K of at least 2, got {masks.shape}."
        )
    count = masks.shape[1]
    labels = masks.argmax(axis=1)
    won = jax.nn.one_hot(labels, count, axis=1)
    logs = jnp.log(jnp.maximum(masks, 1e-30))
    claims, doubles = _doubles(masks)
    return {
        "entropy": -(masks * logs).sum(axis=1).mean(axis=(1, 2)) / math.log(count),
        "sharpness": masks.max(axis=1).mean(axis=(1, 2)),
        "neighbour_agreement": _neighbour_agreement(labels),
        "row_score": _explained(won, axis=2),
        "column_score": _explained(won, axis=3),
        "claims": claims,
        "doubles": doubles,
        "share": won.mean(axis=(2, 3)),
        "mass": masks.mean(axis=(2, 3)),
        "cells": cells_of(masks),
    }


def _doubles(
    masks: Float[Array, "b k h w"],
) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
    """How many slots claim at least 0.5 % of a picture, and how many of them share half of it."""
    claimed = masks >= masks.max(axis=1, keepdims=True) / 2
    claimed = claimed.reshape(*masks.shape[:2], -1).astype(jnp.float32)
    size = claimed.sum(axis=-1)
    both = jnp.einsum("bkp,bjp->bkj", claimed, claimed)
    either = size[:, :, None] + size[:, None] - both
    large = size >= 0.005 * claimed.shape[-1]
    other = ~jnp.eye(masks.shape[1], dtype=bool)[None]
    pair = other & large[:, :, None] & large[:, None] & (both >= either / 2)
    found = large.sum(axis=1), pair.any(axis=2).sum(axis=1)
    return found[0].astype(jnp.float32), found[1].astype(jnp.float32)


def _neighbour_agreement(labels: Int[Array, "b h w"]) -> Float[Array, "b"]:
    down = (labels[:, 1:] == labels[:, :-1]).reshape(len(labels), -1)
    across = (labels[:, :, 1:] == labels[:, :, :-1]).reshape(len(labels), -1)
    return jnp.concatenate([down, across], axis=1).astype(jnp.float32).mean(axis=1)


def _explained(won: Float[Array, "b k h w"], axis: int) -> Float[Array, "b"]:
    """Share of the variance of a coordinate that the label explains."""
    length = won.shape[axis]
    if length == 1:
        return jnp.zeros(len(won))
    place = jnp.arange(length, dtype=jnp.float32) - (length - 1) / 2
    place = place.reshape([-1 if i == axis else 1 for i in range(4)])
    size = won.sum(axis=(2, 3))
    total = (won * place).sum(axis=(2, 3))
    # Coordinates are counted from the middle: between the groups over all.
    between = (jnp.square(total) / jnp.maximum(size, 1)).sum(axis=1)
    return between / (jnp.square(place).sum() * (won.shape[2] * won.shape[3] / length))


def cells_of(masks: Float[Array, "b k h w"]) -> Float[Array, "b k n"]:
    """Means over 8×8 cells; sides that eight does not divide are enlarged first."""
    batch, count, height, width = masks.shape
    sides = tuple(-(-side // _CELLS) * _CELLS for side in (height, width))
    if sides != (height, width):
        masks = jax.image.resize(masks, (batch, count, *sides), "linear")
    split = (batch, count, _CELLS, sides[0] // _CELLS, _CELLS, sides[1] // _CELLS)
    return masks.reshape(split).mean(axis=(3, 5)).reshape(batch, count, -1)


def slot_health(pictures: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Statistics of a window of pictures, from what `picture_health` found; 32 or more of them.

    Returns:
        Scalars by name. NaN throughout where a mask is NaN; `position_score` is NaN for a single
        picture.
    """
    rows = {name: np.asarray(value, np.float64) for name, value in pictures.items()}
    share = rows["share"]
    logs = np.log(np.maximum(share, 1e-30))
    claims = rows["claims"].sum()
    means = ("entropy", "sharpness", "neighbour_agreement", "row_score", "column_score")
    found = {name: rows[name].mean() for name in means} | {
        "largest_share": share.max(axis=1).mean(),
        "effective_slots": np.exp(-(share * logs).sum(axis=1)).mean(),
        "empty_rate": (share == 0).mean(),
        "dead_rate": (share == 0).all(axis=0).mean(),
        "duplicate_rate": rows["doubles"].sum() / max(claims, 1),
        "position_score": position_score(rows["cells"]),
    }
    broken = np.isnan(rows["mass"]).any()
    return {name: math.nan if broken else float(found[name]) for name in STATISTICS}


def usage(pictures: Mapping[str, np.ndarray]) -> Float[np.ndarray, "k"]:
    """Mean mass of each slot over the pictures."""
    return np.asarray(pictures["mass"], np.float64).mean(axis=0)


STATISTICS = (
    "entropy",
    "sharpness",
    "largest_share",
    "effective_slots",
    "empty_rate",
    "dead_rate",
    "duplicate_rate",
    "neighbour_agreement",
    "row_score",
    "column_score",
    "position_score",
)
"""Names of all statistics, in the order they are reported in."""


def position_score(cells: Float[np.ndarray, "b k n"]) -> float:
    """How far places alone decide which ones belong together, whatever slots are called.

    Args:
        cells: masks on 8×8 cells, as `cells_of` makes them.
    """
    cells = np.asarray(cells, np.float64)
    batch = len(cells)
    if batch == 1:
        return math.nan
    rows, columns = np.triu_indices(cells.shape[2], 1)
    pairs = np.einsum("bkn,bkm->bnm", cells, cells)[:, rows, columns]
    over_pictures = np.square(pairs - pairs.mean(axis=0)).sum()
    overall = np.square(pairs - pairs.mean()).sum()
    if overall <= 1e-12 * pairs.size:
        return 0.0
    return 1 - batch / (batch - 1) * over_pictures / overall


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS`, and what it rests on."""

    name: str
    reason: str
    """The number that decided, in words."""
    warning: str | None = None
    """`layout-biased` where places decide much, though not everything."""

    def __str__(self) -> str:
        said = self.name if self.name == "healthy" else f"{self.name} ({self.reason})"
        return said if self.warning is None else f"{said}, {self.warning}"


def verdict(
    health: Mapping[str, float],
    *,
    images: int,
    true_position_score: float = 0.0,
    thresholds: Thresholds = THRESHOLDS,
) -> Verdict:
    """What the statistics say, in words.

    Args:
        health: scalars as `slot_health` returns them.
        images: how many pictures they are of.
        true_position_score: that of the true masks, where there are some: data may be fixed in
            their layout themselves.
        thresholds: where verdicts begin.
    """
    value = {name: float(found) for name, found in health.items()}
    position = value["position_score"]
    beyond = position - true_position_score >= thresholds.position_over_truth
    along = max(value["row_score"], value["column_score"])
    across = min(value["row_score"], value["column_score"])
    tests = (
        math.isnan(value["entropy"]),
        value["entropy"] >= thresholds.uniform,
        value["effective_slots"] <= thresholds.one_slot,
        value["neighbour_agreement"] < thresholds.noise,
        beyond
        and position >= thresholds.stripes
        and along >= thresholds.stripes
        and across <= thresholds.stripes_across,
        beyond and position >= thresholds.position_split,
        value["duplicate_rate"] >= thresholds.duplicates,
        value["dead_rate"] >= thresholds.dead and images >= thresholds.dead_images,
        True,
    )
    reasons = (
        "masks are NaN",
        f"entropy {value['entropy']:.2f}",
        f"{value['effective_slots']:.2f} effective slots",
        f"{value['neighbour_agreement']:.2f} of neighbours agree",
        f"position score {position:.2f}, rows {value['row_score']:.2f}, "
        f"columns {value['column_score']:.2f}",
        f"position score {position:.2f}",
        f"{value['duplicate_rate']:.2f} of slots have a double",
        f"{value['dead_rate']:.2f} of slots never win",
        "",
    )
    place = tests.index(True)
    biased = (
        VERDICTS[place] not in ("broken", "stripes", "position split")
        and beyond
        and position >= thresholds.layout_biased
    )
    return Verdict(VERDICTS[place], reasons[place], "layout-biased" if biased else None)


NO_GRADIENT = Verdict("broken", "first slots get no gradient")
"""What a training loop says that finds the gradient of the first slots to be exactly zero."""
