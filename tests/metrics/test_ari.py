import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from slots import metrics

from . import oracles
from .examples import CLIP_PRED, CLIP_TRUE, PRED, TRUE, random_maps, row

# Static numbers of labels, so that most tests share compiled functions.
STATIC = {"num_true": 8, "num_pred": 8}
foreground_ari = functools.partial(metrics.adjusted_rand_index, ignore_background=True, **STATIC)


def test_hand_examples():
    ari = functools.partial(metrics.adjusted_rand_index, **STATIC)
    assert ari(TRUE, PRED)[0] == pytest.approx(25.6 / 57.6, abs=1e-6)
    assert foreground_ari(TRUE, PRED)[0] == pytest.approx(0.521739, abs=1e-6)
    assert ari(CLIP_TRUE, CLIP_PRED)[0] == pytest.approx(-1 / 6, abs=1e-6)
    assert metrics.per_frame(foreground_ari)(CLIP_TRUE, CLIP_PRED)[0] == 1


ALL = np.ones((1, 1, 3), bool)


@pytest.mark.parametrize(
    ("true", "pred", "options", "value"),
    [
        (row(0, 0, 1, 1), row(0, 1, 0, 1), {}, -0.5),
        (row(0, 0, 1, 1, 2, 2), row(0, 0, 1, 1, 1, 2), {}, 4 / 9),
        (row(0, 0, 1, 1, 2, 2), row(0, 0, 1, 1, 1, 2), {"ignore_background": True}, 0),
        (row(0, 0, 0), row(0, 1, 2), {"ignore_background": True}, np.nan),  # no object
        (row(0, 1, 2), row(0, 1, 2), {"ignore": ALL}, np.nan),  # nothing counts
        (row(1, 1, 1), row(2, 2, 2), {}, 1),  # both one cluster
        (row(0, 1, 2), row(2, 0, 1), {}, 1),  # both all singletons
        (row(3), row(5), {}, 1),  # a single pixel
        (row(1, 1, 1), row(0, 0, 1), {}, 0),  # truth one cluster, prediction split
        (row(1, 1, 2), row(0, 0, 0), {}, 0),  # the reverse
        (row(0, 0, 0), row(4, 4, 4), {}, 1),  # all background, one slot
        (row(0, 0, 0), row(4, 4, 0), {}, 0),  # all background, two slots
        (row(0, 1, 1), row(4, 4, 4), {"ignore_background": True}, 1),  # one object, one slot
        (row(0, 1, 1), row(4, 4, 0), {"ignore_background": True}, 0),  # one object, two slots
        (row(1, 1, 8), row(0, 0, 0), {}, np.nan),  # out of range
        (row(1, 1, 7), row(0, 0, 8), {}, np.nan),
    ],
)
def test_edge_cases(true, pred, options, value):
    got = metrics.adjusted_rand_index(true, pred, **STATIC, **options)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [value], atol=1e-6)
    if value == 1:
        assert got[0] == value


@pytest.mark.parametrize("shape", [(8, 12, 12), (8, 3, 8, 8)])
def test_equals_sklearn(shape):
    true, pred = random_maps(3, shape, 5, 6)
    pairs = [(t.ravel(), p.ravel()) for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(
        metrics.adjusted_rand_index(true, pred, **STATIC),
        [adjusted_rand_score(t, p) for t, p in pairs],
        atol=1e-6,
    )
    np.testing.assert_allclose(
        foreground_ari(true, pred),
        [adjusted_rand_score(t[t > 0], p[t > 0]) for t, p in pairs],
        atol=1e-6,
    )


def test_large_counts_keep_small_differences():
    # With int32 sums this table reads 1.0000.
    counts = jnp.array([[1_572_664, 60], [20, 120]], jnp.int32)
    value = metrics.adjusted_rand_index_from_counts(counts)
    assert value == pytest.approx(0.749937, abs=1e-6)


def test_tables_up_to_the_largest_equal_fractions():
    rng = np.random.default_rng(4)
    tables = []
    for _ in range(300):
        share = rng.dirichlet(np.full(16, rng.choice([0.05, 0.3, 1.0, 10.0])))
        number = int(2 ** rng.uniform(1, 24)) - 1
        tables.append(rng.multinomial(number, share).reshape(4, 4))
    got = metrics.adjusted_rand_index_from_counts(jnp.asarray(np.stack(tables), jnp.int32))
    expected = [
        oracles.ari({(i, j): int(n) for (i, j), n in np.ndenumerate(t) if n}) for t in tables
    ]
    np.testing.assert_allclose(got, expected, atol=4e-7)


@pytest.mark.parametrize("foreground", [False, True])
def test_long_clips_under_jit_equal_python_integers(foreground):
    assert not jax.config.jax_enable_x64
    true, pred = random_maps(4, (2, 24, 256, 256), 11, 8)
    # One huge background, one slot that takes nearly all.
    true[1] = np.where(np.arange(256) < 250, 0, true[1])
    pred[1] = np.where(true[1] == 0, 0, pred[1])
    metric = functools.partial(
        metrics.adjusted_rand_index, ignore_background=foreground, num_true=11, num_pred=8
    )
    value = jax.jit(metric)(jnp.asarray(true, jnp.uint8), jnp.asarray(pred, jnp.uint8))
    cells = [oracles.table(t, p) for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(value, [oracles.ari(c, foreground) for c in cells], atol=1e-6)


def test_every_pixel_its_own_slot():
    true, _ = random_maps(5, (2, 64, 64), 4, 4)
    pred = np.arange(64 * 64).reshape(1, 64, 64).repeat(2, 0)
    np.testing.assert_array_equal(metrics.adjusted_rand_index(true, pred), [0, 0])


def test_labels_too_many_for_a_table_are_sorted():
    true, pred = random_maps(6, (3, 20, 20), 4, 5)
    true[2] = 0
    ignore = np.random.default_rng(7).random(true.shape) < 0.2
    cells = [oracles.table(*maps) for maps in zip(true, pred, ignore, strict=True)]
    # Renamed far apart, the labels would need 10¹³ cells.
    true, pred = (jnp.asarray(x, jnp.int32) for x in (true * 1_000_003, pred * 999_983))
    for foreground in (False, True):
        metric = functools.partial(
            metrics.adjusted_rand_index, ignore_background=foreground, ignore=jnp.asarray(ignore)
        )
        expected = [oracles.ari(c, foreground) for c in cells]
        np.testing.assert_allclose(metric(true, pred), expected, atol=1e-6)
    traced = jax.jit(functools.partial(metric, num_true=2**22, num_pred=2**22))
    np.testing.assert_allclose(traced(true, pred), expected, atol=1e-6)


def test_sorted_labels_out_of_range_are_nan():
    true = np.stack([row(0, 1)[0], row(0, 2**20)[0]])
    value = metrics.adjusted_rand_index(true, true, num_true=2**20, num_pred=2**21)
    np.testing.assert_array_equal(value, [1, np.nan])
