"""Adjusted Rand index, exact in its counts without 64-bit numbers.

Pair counts of a clip reach 10¹² and their products 10²⁴, which neither int32 nor float32 holds.
Sums of squares are therefore carried in base-4096 digits and turned into float32 at the very end.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from slots.metrics.table import (
    MAX_CELLS,
    Ignore,
    PredLabels,
    TrueLabels,
    count_pairs,
    in_range,
    is_counted,
    pair_labels,
)

_BITS = 12
_MASK = 2**_BITS - 1


def adjusted_rand_index(
    true: TrueLabels,
    pred: PredLabels,
    *,
    ignore_background: bool = False,
    ignore: Ignore | None = None,
    num_true: int | None = None,
    num_pred: int | None = None,
) -> Float[Array, "b"]:
    """Adjusted Rand index of each example (Hubert & Arabie 1985).

    Any number of labels is fine: where the table would be too large, pixels are sorted instead.

    Args:
        true: true labels, [B,H,W] or [B,T,H,W]; 0 is the background.
        pred: predicted labels of the same shape.
        ignore_background: leave out the pixels with true label 0 (FG-ARI).
        ignore: True where a pixel does not count.
        num_true: static number of true labels; see `contingency`.
        num_pred: static number of predicted labels; see `contingency`.

    Returns:
        float32 [B], at most 1, within 4e-7 of the exact value. NaN where no pixel counts; 1 where
        both sides agree trivially (each one cluster, or all clusters single pixels).

    Raises:
        ValueError: as `contingency`, but for the size of the table.
    """
    pairs = pair_labels(true, pred, ignore=ignore, num_true=num_true, num_pred=num_pred)
    if pairs.num_true * pairs.num_pred <= MAX_CELLS:
        counts = count_pairs(pairs)
        return adjusted_rand_index_from_counts(counts, ignore_background=ignore_background)
    return _from_sorted_pixels(*pairs[:3], in_range(pairs), ignore_background=ignore_background)


@functools.partial(jax.jit, static_argnames=("ignore_background",))
def adjusted_rand_index_from_counts(
    counts: Int[Array, "*b c k"], *, ignore_background: bool = False
) -> Float[Array, "*b"]:
    """Adjusted Rand index of tables made by `contingency`; see `adjusted_rand_index`."""
    table = counts[..., 1:, :] if ignore_background else counts
    value = _index(
        cells=table.reshape(*table.shape[:-2], math.prod(table.shape[-2:])),
        rows=table.sum(-1),
        columns=table.sum(-2),
    )
    return jnp.where(is_counted(counts), value, jnp.nan)


@functools.partial(jax.jit, static_argnames=("ignore_background",))
def _from_sorted_pixels(
    true: Int[Array, "b p"],
    pred: Int[Array, "b p"],
    counted: Bool[Array, "b p"],
    fits: Bool[Array, "b"],
    *,
    ignore_background: bool,
) -> Float[Array, "b"]:
    counted = counted & (true > 0) if ignore_background else counted
    value = _index(
        cells=_run_lengths(counted, true, pred),
        rows=_run_lengths(counted, true),
        columns=_run_lengths(counted, pred),
    )
    return jnp.where(fits, value, jnp.nan)


def _run_lengths(counted: Bool[Array, "b p"], *labels: Int[Array, "b p"]) -> Int[Array, "b p"]:
    """How often each combination of labels occurs: at one of its pixels, 0 at the others."""
    ignored, *ordered = jax.lax.sort((~counted, *labels), num_keys=1 + len(labels))
    differs = functools.reduce(jnp.logical_or, (x[:, 1:] != x[:, :-1] for x in (ignored, *ordered)))
    edge = jnp.ones((ignored.shape[0], 1), bool)
    starts = jnp.concatenate([edge, differs], axis=1)
    ends = jnp.concatenate([differs, edge], axis=1)
    place = jax.lax.broadcasted_iota(jnp.int32, ignored.shape, 1)
    start = jax.lax.cummax(jnp.where(starts, place, 0), axis=1)
    return jnp.where(ends & ~ignored, place - start + 1, 0)


def _index(
    *, cells: Int[Array, "*b n"], rows: Int[Array, "*b c"], columns: Int[Array, "*b k"]
) -> Float[Array, "*b"]:
    """The index from the pixels in every cell, row and column of a table.

    Counts pairs of pixels that are together in both partitions (tp), in the truth only (fn), in
    the prediction only (fp) and in neither (tn), twice each. Written with these four, both products
    of the numerator are at most half the denominator, so that float32 does for any balance.
    """
    number = rows.sum(-1)
    zero = jnp.zeros_like(number)
    pixels = jnp.stack([number & _MASK, number >> _BITS, zero, zero], axis=-1)
    both, true, pred = map(_sum_of_squares, (cells, rows, columns))
    everything = _sum_of_squares(number[..., None])
    digits = _carry(
        jnp.stack([both - pixels, true - both, pred - both, everything - true - pred + both])
    )
    agree = jnp.all(digits[1:3] == 0, axis=(0, -1))  # fn and fp, exactly

    pairs = _to_float(digits)
    # As fractions of all pairs, so that no product leaves float32's range; no pair, no fraction.
    tp, fn, fp, tn = pairs / jnp.maximum(pairs.sum(0, keepdims=True), 1.0)
    denominator = (tp + fn) * (fn + tn) + (tp + fp) * (fp + tn)
    value = 2.0 * (tp * tn - fn * fp) / jnp.where(agree, 1.0, denominator)
    return jnp.where(number > 0, jnp.where(agree, 1.0, value), jnp.nan)


def _sum_of_squares(values: Int[Array, "*b n"]) -> Int[Array, "*b 4"]:
    """Sum of v² over the last axis as four base-4096 digits, low first, not yet carried.

    With v = 4096h + l, v² = l² + 4096·2hl + 4096²·h². As the values of an example sum to less than
    2²⁴, no digit reaches 2³⁰: l² mod 4096 ≤ 63·l, l² div 4096 ≤ l, and the h sum to at most 4095.
    """
    high, low = values >> _BITS, values & _MASK
    square = low * low
    digits = (square & _MASK, (square >> _BITS) + 2 * high * low, high * high)
    sums = [digit.sum(-1) for digit in digits]
    return jnp.stack([*sums, jnp.zeros_like(sums[0])], axis=-1)


def _carry(digits: Int[Array, "*b 4"]) -> Int[Array, "*b 4"]:
    """Brings digits (of either sign, of a number that is not negative) into 0 … 4095."""
    carried, carry = [], jnp.zeros_like(digits[..., 0])
    for position in range(4):
        digit = digits[..., position] + carry
        carried.append(digit & _MASK)
        carry = digit >> _BITS  # arithmetic shift: borrows where the digit is negative
    return jnp.stack(carried, axis=-1)


def _to_float(digits: Int[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Carried digits as float32, rounded once: both halves are whole numbers below 2²⁴."""
    low = digits[..., 0] + (digits[..., 1] << _BITS)
    high = digits[..., 2] + (digits[..., 3] << _BITS)
    return high.astype(jnp.float32) * 2.0**24 + low.astype(jnp.float32)
