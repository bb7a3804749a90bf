"""Which pixels two label maps share: the one table that the hard-mask metrics start from.

Labels are any integers from 0; in `true` 0 is the background, in `pred` every label is a segment.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

MAX_PIXELS = 2**24
"""Pixels an example must stay below: up to here float32 holds every count exactly."""

MAX_CELLS = 2**22
"""Largest table built for one example (16 MiB)."""

_MAX_PRODUCT_LABELS = 1024
"""Most one-hot columns worth a matrix product; beyond, they cost more memory than the picture."""

# Predictions have sizes of their own here, so that a mismatch meets our sentence.
TrueLabels = Integer[Array | np.ndarray, "b *t h w"]
PredLabels = Integer[Array | np.ndarray, "n *u y x"]
Ignore = Bool[Array | np.ndarray, "m *v r s"]


class LabelPairs(NamedTuple):
    """Two checked label maps, one row of pixels an example."""

    true: Int[Array, "b p"]
    pred: Int[Array, "b p"]
    counted: Bool[Array, "b p"]
    """False where a pixel is ignored."""
    num_true: int
    num_pred: int


def contingency(
    true: TrueLabels,
    pred: PredLabels,
    *,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Int[Array, "b c k"]:
    """Pixels with true label i and predicted label j, counted exactly.

    A clip is one example: its frames are counted together.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W], any integer dtype; gaps in the ids mean nothing.
        pred: predicted labels of the same shape.
        ignore: True where a pixel counts neither in the truth nor in the prediction.
        num_true: C, static. Left out, it is the smallest power of two above the largest counted
            label (so that few sizes are compiled), which needs concrete arrays.
        num_pred: K, likewise.

    Returns:
        int32 [B,C,K]. An example with a counted label outside 0 … C-1 or 0 … K-1 has -1 in all of
        its cells, which every metric turns into NaN (and every number of segments into -1).

    Raises:
        ValueError: shapes differ, labels are not integers or negative, a picture or a table is too
            large, or a number of labels is missing while JAX traces.
    """
    pairs = pair_labels(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    check_cells(pairs.num_true, pairs.num_pred)
    return count_pairs(pairs)


def check_cells(num_true: int, num_pred: int, side: int = 1) -> None:
    """Refuses a table of these labels, or of either by the pixels of a picture's longest side.

    Raises:
        ValueError: it has more than `MAX_CELLS` cells.
    """
    if max(num_true * num_pred, side * num_true, side * num_pred) > MAX_CELLS:
        raise ValueError(
            f"a table of {num_true} true by {num_pred} predicted labels passes "
            f"{MAX_CELLS} cells; renumber the labels with compact_labels."
        )


def pair_labels(
    true: TrueLabels,
    pred: PredLabels,
    *,
    ignore: Ignore | None,
    num_true: int | None,
    num_pred: int | None,
) -> LabelPairs:
    """Checks two label maps and flattens each example; arguments and errors as `contingency`."""
    if true.shape != pred.shape:
        raise ValueError(
            f"true has shape {true.shape} but pred has {pred.shape}; bring pred to the size of "
            "true with labels_from_masks(masks, size) or resize_labels(pred, size)."
        )
    if ignore is not None and ignore.shape != true.shape:
        raise ValueError(
            f"ignore has shape {ignore.shape} but true has {true.shape}; pass one flag a pixel."
        )
    for name, labels in (("true", true), ("pred", pred)):
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(f"{name} must hold integer labels, got {labels.dtype}; cast it.")
    pixels = math.prod(true.shape[1:])
    if pixels >= MAX_PIXELS:
        raise ValueError(
            f"an example must have fewer than {MAX_PIXELS} pixels to be counted exactly, got "
            f"{pixels}; split the clip or resize the labels."
        )
    if any(isinstance(x, jax.core.Tracer) for x in (true, pred, ignore)):
        if num_true is None or num_pred is None:
            raise ValueError(
                "num_true and num_pred must be given where JAX traces (jit, vmap), got "
                f"num_true={num_true} and num_pred={num_pred}; pass static integers above the "
                "largest label."
            )
    else:
        num_true = _check_labels("true", true, ignore, num_true)
        num_pred = _check_labels("pred", pred, ignore, num_pred)

    flat = (true.shape[0], pixels)
    return LabelPairs(
        true=jnp.asarray(true, jnp.int32).reshape(flat),
        pred=jnp.asarray(pred, jnp.int32).reshape(flat),
        counted=jnp.ones(flat, bool)
        if ignore is None
        else ~jnp.asarray(ignore, bool).reshape(flat),
        num_true=num_true,
        num_pred=num_pred,
    )


def count_pairs(pairs: LabelPairs) -> Int[Array, "b c k"]:
    """The table of `contingency`, without its limit on size."""
    return _count(*pairs[:3], num_true=pairs.num_true, num_pred=pairs.num_pred)


def in_range(pairs: LabelPairs) -> Bool[Array, "b"]:
    """True for examples whose counted labels all lie below their static numbers."""
    true_fits = (pairs.true >= 0) & (pairs.true < pairs.num_true)
    pred_fits = (pairs.pred >= 0) & (pairs.pred < pairs.num_pred)
    return jnp.all(~pairs.counted | (true_fits & pred_fits), axis=1)


def is_counted(counts: Int[Array, "*b c k"]) -> Bool[Array, "*b"]:
    """False for examples that `contingency` could not count."""
    return counts[..., 0, 0] >= 0


def _check_labels(
    name: str, labels: Array | np.ndarray, ignore: Array | np.ndarray | None, number: int | None
) -> int:
    """The number of labels, given or inferred, once the concrete labels are known to be usable."""
    xp = np if isinstance(labels, np.ndarray) else jnp
    kept = labels if ignore is None else xp.where(ignore, 0, labels)
    smallest, largest = int(kept.min(initial=0)), int(kept.max(initial=0))
    if smallest < 0:
        raise ValueError(
            f"{name} must hold labels from 0, got {smallest}; mark such pixels with ignore or "
            "renumber them."
        )
    if largest > np.iinfo(np.int32).max:
        raise ValueError(
            f"{name} must hold labels below 2**31, got {largest}; renumber them with "
            "compact_labels."
        )
    return 1 << largest.bit_length() if number is None else number


@functools.partial(jax.jit, static_argnames=("num_true", "num_pred"))
def _count(
    true: Int[Array, "b p"],
    pred: Int[Array, "b p"],
    counted: Bool[Array, "b p"],
    *,
    num_true: int,
    num_pred: int,
) -> Int[Array, "b c k"]:
    by_sum = functools.partial(_count_by_sum, num_true=num_true, num_pred=num_pred)
    by_product = functools.partial(_count_by_product, num_true=num_true, num_pred=num_pred)
    fits = in_range(LabelPairs(true, pred, counted, num_true, num_pred))
    if num_true + num_pred > _MAX_PRODUCT_LABELS:
        counts = by_sum(true, pred, counted)
    else:
        # A CPU adds one pixel after the other (1.5 ns each, 8 to 200 times faster than a
        # product); on accelerators pixels would queue for the same few cells.
        counts = jax.lax.platform_dependent(true, pred, counted, cpu=by_sum, default=by_product)
    return jnp.where(fits[:, None, None], counts, -1)


def _count_by_sum(
    true: Int[Array, "b p"],
    pred: Int[Array, "b p"],
    counted: Bool[Array, "b p"],
    *,
    num_true: int,
    num_pred: int,
) -> Int[Array, "b c k"]:
    """Adds every pixel to its cell."""
    cells = num_true * num_pred
    # Ignored pixels go to a cell past the end; labels out of range are dealt with by the caller.
    code = jnp.where(counted, true * num_pred + pred, cells)
    ones = jnp.ones_like(code)
    counts = jax.vmap(lambda one, where: jax.ops.segment_sum(one, where, cells))(ones, code)
    return counts.reshape(true.shape[0], num_true, num_pred)


def _count_by_product(
    true: Int[Array, "b p"],
    pred: Int[Array, "b p"],
    counted: Bool[Array, "b p"],
    *,
    num_true: int,
    num_pred: int,
) -> Int[Array, "b c k"]:
    """Multiplies one-hot labels; exact, since 0 and 1 are so in bfloat16 and sums in float32."""
    in_true = jax.nn.one_hot(jnp.where(counted, true, -1), num_true, dtype=jnp.bfloat16)
    in_pred = jax.nn.one_hot(pred, num_pred, dtype=jnp.bfloat16)
    counts = jnp.einsum("bpc,bpk->bck", in_true, in_pred, preferred_element_type=jnp.float32)
    return counts.astype(jnp.int32)
