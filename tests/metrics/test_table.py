import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots import metrics
from slots.metrics.table import _count_by_product, _count_by_sum, pair_labels

from . import oracles
from .examples import CLIP_PRED, CLIP_TRUE, PRED, TRUE, random_maps, row


def test_hand_example():
    counts = metrics.contingency(TRUE, PRED)
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, [[[4, 0], [4, 0], [0, 4], [0, 4]]])


def test_frames_of_a_clip_are_counted_together():
    counts = metrics.contingency(CLIP_TRUE, CLIP_PRED)
    np.testing.assert_array_equal(counts[0], [[0, 0], [2, 2], [2, 2], [0, 0]])


@pytest.mark.parametrize("shape", [(3, 13, 10), (2, 3, 8, 9)])
def test_equals_counting_by_hand(shape):
    true, pred = random_maps(0, shape, 5, 7)
    ignore = np.random.default_rng(1).random(shape) < 0.2
    counts = np.asarray(metrics.contingency(true, pred, ignore=ignore))
    assert counts.shape == (shape[0], 8, 8)
    for example in range(shape[0]):
        cells = oracles.table(true[example], pred[example], ignore[example])
        expected = np.zeros((8, 8), int)
        for (i, j), n in cells.items():
            expected[i, j] = n
        np.testing.assert_array_equal(counts[example], expected)


def test_both_forms_agree_in_every_cell():
    rng = np.random.default_rng(0)
    true, pred = (jnp.asarray(rng.integers(0, k, (2, 5000)), jnp.int32) for k in (5, 9))
    counted = jnp.asarray(rng.random((2, 5000)) < 0.8)
    by_sum, by_product = (
        jax.jit(functools.partial(form, num_true=5, num_pred=9))(true, pred, counted)
        for form in (_count_by_sum, _count_by_product)
    )
    assert by_sum.dtype == by_product.dtype == jnp.int32
    np.testing.assert_array_equal(by_sum, by_product)


def test_product_form_is_exact_above_bfloat16_and_half_a_million():
    true = jnp.zeros((1, 700_001), jnp.int32)
    counted = jnp.ones(true.shape, bool)
    counts = _count_by_product(true, true, counted, num_true=2, num_pred=2)
    np.testing.assert_array_equal(counts, [[[700_001, 0], [0, 0]]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
def test_any_integer_dtype(dtype):
    np.testing.assert_array_equal(
        metrics.contingency(TRUE.astype(dtype), PRED.astype(dtype)),
        metrics.contingency(jnp.asarray(TRUE), jnp.asarray(PRED)),
    )


@pytest.mark.parametrize(
    ("largest", "number"), [(0, 1), (1, 2), (2, 4), (3, 4), (4, 8), (255, 256)]
)
def test_label_counts_are_inferred_as_powers_of_two(largest, number):
    assert metrics.contingency(row(0, largest), row(0, 0)).shape == (1, number, 1)


def test_ignored_labels_neither_count_nor_enlarge_the_table():
    ignore = np.array([[[False, False, True]]])
    counts = metrics.contingency(row(0, 1, 255), row(1, 1, -1), ignore=ignore)
    np.testing.assert_array_equal(counts, [[[0, 1], [0, 1]]])


def test_labels_out_of_range_mark_the_example_and_no_other():
    true = np.stack([row(0, 1, 2, 3)[0], row(0, 1, 1, 0)[0]])
    pred = np.zeros_like(true)
    counts = metrics.contingency(true, pred, num_true=3, num_pred=1)
    np.testing.assert_array_equal(counts[..., 0], [[-1, -1, -1], [2, 2, 0]])

    ignore = true == 3
    counts = metrics.contingency(true, pred, ignore=ignore, num_true=3, num_pred=1)
    np.testing.assert_array_equal(counts[..., 0], [[1, 1, 1], [2, 2, 0]])


def test_negative_labels_mark_the_example_where_jax_traces():
    count = jax.jit(functools.partial(metrics.contingency, num_true=2, num_pred=2))
    for true, pred in ((row(0, -1), row(0, 1)), (row(0, 1), row(0, -1)), (row(0, 1), row(0, 2))):
        assert (count(jnp.asarray(true), jnp.asarray(pred)) == -1).all()


def test_eager_jit_and_vmap_agree_bit_for_bit():
    true, pred = (jnp.asarray(x) for x in random_maps(2, (6, 8, 8), 4, 4))
    eager = metrics.contingency(true, pred)
    count = functools.partial(metrics.contingency, num_true=4, num_pred=4)
    np.testing.assert_array_equal(jax.jit(count)(true, pred), eager)
    nested = jax.vmap(count)(true.reshape(2, 3, 8, 8), pred.reshape(2, 3, 8, 8))
    np.testing.assert_array_equal(nested.reshape(eager.shape), eager)


def test_works_without_pixels_or_examples():
    assert metrics.contingency(TRUE[:0], PRED[:0]).shape == (0, 1, 1)
    np.testing.assert_array_equal(metrics.contingency(TRUE[:, :0], PRED[:, :0]), [[[0]]])


@pytest.mark.parametrize(
    ("true", "pred", "options", "message"),
    [
        (TRUE, PRED[:, :2], {}, r"\(1, 4, 4\) but pred has \(1, 2, 4\).*labels_from_masks"),
        (TRUE, CLIP_PRED, {}, r"\(1, 4, 4\) but pred has \(1, 2, 1, 4\)"),
        (TRUE, PRED, {"ignore": TRUE[:, :2] > 5}, r"ignore has shape \(1, 2, 4\)"),
        (row(0, -1), row(0, 0), {}, "true must hold labels from 0, got -1"),
        (row(0, 0), row(0, -7), {"num_true": 1, "num_pred": 1}, "pred .* from 0, got -7"),
        (row(0, 2**31), row(0, 0), {}, r"below 2\*\*31, got 2147483648; .*compact_labels"),
        (row(0, 2**13), row(0, 2**13), {}, "16384 true by 16384 pred.*compact_labels"),
        (np.zeros((1, 4096, 4096), np.uint8),) * 2 + ({}, "fewer than 16777216 pixels"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(true, pred, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.contingency(true, pred, **options)


def test_labels_must_be_integers():
    # The checks of array annotations, on in tests only, would answer first.
    unchecked = getattr(pair_labels, "__wrapped__", pair_labels)
    with pytest.raises(ValueError, match="pred must hold integer labels, got float32"):
        unchecked(TRUE, jnp.asarray(PRED, jnp.float32), ignore=None, num_true=None, num_pred=None)


@pytest.mark.parametrize("given", [{}, {"num_true": 4}, {"num_pred": 2}])
def test_tracing_needs_both_label_counts(given):
    count = functools.partial(metrics.contingency, **given)
    with pytest.raises(ValueError, match="num_true and num_pred must be given where JAX traces"):
        jax.jit(count)(jnp.asarray(TRUE), jnp.asarray(PRED))
