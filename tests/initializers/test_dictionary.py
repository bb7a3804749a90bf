"""Section 8 of the dictionary's sheet: hand-computed cases and properties."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import abstract, filled, quick_jit
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.initializers import DictionaryConfig
from slots.nn.codebook import distances, follow, fresh_table, perplexity, restart
from slots.nn.spectrum import repetitions, similarity_spectrum
from slots.types import Tokens

ALL = jnp.ones((1, 2), bool)


def groups(*sizes, width=4):
    """Identical unit tokens in orthogonal groups, [1,N,width]."""
    return jnp.asarray(np.repeat(np.eye(max(width, len(sizes)))[: len(sizes)], sizes, 0))[None]


@pytest.mark.parametrize("width", [4, 12])
@pytest.mark.parametrize("sizes", [(2, 2), (3, 2, 1), (2, 2, 2, 2), (8,)])
def test_eigenvalues_are_sizes_of_groups(sizes, width):
    tokens = 3.0 * groups(*sizes, width=width).astype(jnp.float32)
    values, vectors = similarity_spectrum(tokens, len(sizes))
    want = [*sorted(sizes, reverse=True), *[0] * (values.shape[1] - len(sizes))]
    assert_allclose(values[0], want, atol=1e-5)
    projector = np.einsum("kn,km->nm", vectors[0], vectors[0])
    unit = np.asarray(tokens[0]) / 3
    wanted = unit @ unit.T / np.repeat(sizes, sizes)[None]
    assert_allclose(projector, wanted, atol=1e-5)


@pytest.mark.parametrize(("degrees", "want"), [(30, (1.866, 0.134)), (80, (1.174, 0.826))])
def test_two_tokens_at_an_angle(degrees, want):
    angle = math.radians(degrees)
    tokens = jnp.asarray([[[1.0, 0, 0], [math.cos(angle), math.sin(angle), 0]]])
    assert_allclose(similarity_spectrum(tokens, 2)[0][0], want, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 6, 9), (2, 9, 6)])
def test_spectrum(shape):
    """Both ways to decompose, against the plain one."""
    tokens = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    values, vectors = similarity_spectrum(tokens, 4)
    unit = np.float64(tokens) / np.linalg.norm(tokens, axis=-1, keepdims=True)
    gram = unit @ unit.swapaxes(1, 2)
    assert_allclose(values, np.linalg.eigvalsh(gram)[:, ::-1][:, :6], atol=1e-5)
    assert_allclose(values.sum(1), shape[1], rtol=1e-5)
    assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    assert_allclose(
        np.einsum("bnm,bkm->bkn", gram, vectors), values[:, :4, None] * vectors, atol=1e-4
    )
    largest = np.abs(vectors).argmax(-1)
    assert (np.take_along_axis(np.asarray(vectors), largest[..., None], -1) > 0).all()


def test_what_the_spectrum_does_not_see():
    rng = np.random.default_rng(1)
    tokens = rng.standard_normal((1, 7, 5)).astype(np.float32)
    before, _ = similarity_spectrum(jnp.asarray(tokens), 3)
    turn, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    for other in (
        tokens[:, rng.permutation(7)],
        tokens * rng.uniform(0.1, 9, (1, 7, 1)),
        tokens @ turn,
    ):
        assert_allclose(
            similarity_spectrum(jnp.asarray(other, jnp.float32), 3)[0], before, atol=1e-5
        )


def test_masked_tokens_are_not_there():
    tokens = groups(3, 2, 2).astype(jnp.float32)
    mask = jnp.arange(7)[None] < 5
    values, vectors = similarity_spectrum(tokens, 2, mask)
    assert_allclose(values[0], [3, 2, 0, 0], atol=1e-5)
    assert_array_equal(vectors[0, :, 5:], np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("sizes", "count", "want"),
    [
        ((5, 3, 1), 3, (0, 1, 2, 1, 1, 0)),
        ((1, 1, 1), 3, (0, 1, 2, 0, 1, 2)),
        ((9, 4, 3, 2, 2, 2, 1), 7, (0, 1, 2, 3, 4, 5)),
        ((8, 0, 0), 3, (0, 1, 2, 0, 0, 0)),
        ((2, 2, 0), 3, (0, 1, 2, 1, 0, 1)),
    ],
)
def test_large_things_get_several_slots(sizes, count, want):
    got = repetitions(jnp.asarray([sizes]), jnp.asarray([count]), 6)
    assert_array_equal(got[0], want)


def test_angles():
    angles = np.radians([0, 45, 60, 90, 180])
    features = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], -1), jnp.float32)
    found = distances(features, jnp.asarray([[2.0, 0]]), "cosine")[:, 0]
    assert_allclose(found, [0.000712, 0.125, 1 / 6, 0.25, 0.000712], atol=1e-5)


def test_nearest_by_angle_and_by_distance():
    feature, keys = jnp.asarray([[-3.0, 0.1]]), jnp.eye(2)
    assert distances(feature, keys, "cosine")[0].argmin() == 0
    assert_allclose(distances(feature, keys, "euclidean")[0], [16.01, 9.81], rtol=1e-5)


def follow_example(counts):
    table = {"keys": jnp.zeros((2, 1)), "counts": counts, "sums": jnp.asarray([[1.0], [-1]])}
    features = jnp.asarray([[[2.0], [2], [2], [-2]]])
    codes = jnp.asarray([[0, 0, 0, 1]])
    return follow(table, features, codes, jnp.ones((1, 4), bool), decay=0.9, epsilon=1e-5)


@pytest.mark.parametrize(
    ("start", "counts", "keys"),
    [
        (0.0, (0.299995, 0.100005), (5.0001, -10.9995)),
        (1.0, (1.199999, 1.000001), (1.250001, -1.099999)),
    ],
)
def test_moving_averages(start, counts, keys):
    table = follow_example(jnp.full(2, start))
    assert_allclose(table["counts"], counts, atol=1e-6)
    assert_allclose(table["sums"][:, 0], [1.5, -1.1], rtol=1e-6)
    assert_allclose(table["keys"][:, 0], keys, rtol=1e-4)


def test_keys_arrive_at_the_mean_of_what_falls_to_them():
    table = fresh_table(jnp.asarray([[5.0, 1], [0, 3]]))
    features, codes = jnp.asarray([[[1.0, 2], [3, 4]]]), jnp.zeros((1, 2), jnp.int32)
    for _ in range(200):
        table = follow(table, features, codes, ALL, decay=0.9, epsilon=1e-5)
    assert_allclose(table["keys"][0], [2, 3], rtol=1e-3)
    direction = table["keys"][1] / np.linalg.norm(table["keys"][1])
    assert_allclose(direction, [0, 1], atol=1e-6)
    assert_allclose(table["counts"].sum(), 2, rtol=1e-3)  # as many as fall each time


def test_absent_properties_do_not_count():
    table = fresh_table(jnp.eye(2))
    features, codes = jnp.asarray([[[9.0, 9], [1, 0]]]), jnp.asarray([[0, 0]])
    present = jnp.asarray([[False, True]])
    moved = follow(table, features, codes, present, decay=0.5, epsilon=0.0)
    assert_allclose(moved["keys"], np.eye(2))


def test_unused_keys_start_again_among_the_features():
    table = fresh_table(jnp.asarray([[1.0, 0], [100, 100]]))
    table = table | {"counts": jnp.asarray([1.0, 1e-9])}
    features = jnp.asarray([[[1.0, 2], [3, 2]]])
    moved = restart(table, features, ALL, jax.random.key(0), below=1e-6)
    assert_allclose(moved["keys"][0], [1, 0])
    assert moved["counts"][1] == 1
    assert abs(moved["keys"][1, 0] - 2) < 4
    assert_allclose(moved["keys"][1, 1], 2)  # no spread there


def test_perplexity():
    one = jnp.zeros((4, 16), jnp.int32)
    assert_allclose(perplexity(one, 64), 1, rtol=1e-5)
    every = jnp.arange(64).reshape(4, 16)
    assert_allclose(perplexity(every, 64), 64, rtol=1e-5)


SMALL = {"size": 6, "key_dim": 4}
K, S, C, N = 5, 6, 7, 9


def made(seed=0, **settings):
    config = DictionaryConfig(**SMALL, **settings)
    return filled(
        lambda rngs: config.make(num_slots=K, slot_dim=S, feature_dim=3, content_dim=C, rngs=rngs),
        seed,
    )


def tokens_of(content):
    content = jnp.asarray(content, jnp.float32)
    shape = content.shape[:2]
    return Tokens(
        features=jnp.zeros((*shape, 3)),
        content=content,
        positions=jnp.zeros((*shape, 2)),
        grid=(1, shape[1]),
    )


def tokens(batch=3, seed=0):
    return tokens_of(np.random.default_rng(seed).standard_normal((batch, N, C)))


def run(module, tokens, *, train=True, seed=0, variables=None):
    if variables is None:
        variables = module.init_variables(jax.random.key(7))
    keys = jax.random.split(jax.random.key(seed), len(tokens.features))
    call = quick_jit(lambda t, k, v: module(t, k, v, train=train))
    return call(tokens, keys, variables)


LOOKUPS = ("cosine", "euclidean", "gumbel")


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("values", ["gaussian", "network"])
def test_it_makes_slots(lookup, values):
    module = made(lookup=lookup, values=values)
    first, variables = run(module, tokens())
    assert first.slots.vectors.shape == (3, K, S)
    assert first.slots.active is None
    assert first.losses["dictionary"].shape == (3,)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((first, variables)))
    if values == "network":
        assert (first.slots.vectors >= 0).all()
    before = module.init_variables(jax.random.key(7))["table"]["keys"]
    assert np.abs(variables["table"]["keys"] - before).max() > 1e-6
    _, still = run(module, tokens(), train=False)
    assert_allclose(still["table"]["keys"], before)


def test_slots_have_their_entrys_mean_and_variance():
    module = made()
    mean, log_variance = module.mean[...], module.log_variance[...]
    codes = jnp.asarray([[2, 2, 4]])
    keys = jax.random.split(jax.random.key(0), 20_000)
    found = quick_jit(jax.vmap(lambda key: module.draw(codes, key[None], {})[0]))(keys)
    for slot, code in enumerate((2, 2, 4)):
        assert_allclose(found[:, slot].mean(0), mean[code], atol=0.05)
        assert_allclose(found[:, slot].var(0), np.exp(log_variance[code]), rtol=0.1)
    assert np.abs(found[:, 0] - found[:, 1]).min(axis=1).max() > 1e-3  # drawn apart


def test_the_same_picture_gets_the_same_codes():
    content = np.random.default_rng(0).standard_normal((1, N, C))
    twice = tokens_of(np.concatenate([content, content, content[:, ::-1]]))
    first, _ = run(made(), twice, train=False)
    codes = first.diagnostics["codes"]
    assert_array_equal(codes[0], codes[1])
    assert_array_equal(codes[0], codes[2])  # places play no part


def test_a_picture_stands_for_itself():
    """Whatever else is in the batch."""
    module, batch = made(count="estimated"), tokens(4)
    keys = jax.random.split(jax.random.key(0), 4)
    variables = module.init_variables(jax.random.key(7))
    call = quick_jit(lambda t, k: module(t, k, variables, train=False)[0].slots)
    among = call(batch, keys)
    alone = call(jax.tree.map(lambda x: x[2:3], batch), keys[2:3])
    assert_allclose(among.vectors[2:3], alone.vectors, atol=1e-6)
    assert_array_equal(among.active[2:3], alone.active)


def test_as_many_slots_as_things():
    content = np.concatenate([groups(2, 2, 2, 3, width=C), groups(5, 4, width=C)])
    first, _ = run(made(count="estimated"), tokens_of(content), train=False)
    assert_array_equal(first.diagnostics["count"], [4, 3])
    assert_array_equal(first.slots.active.sum(1), [4, 3])


def test_properties_are_sums_of_kinds():
    """Rows √3 a, √2 b, c for groups of three, two and one unit tokens."""
    module = made()
    content = groups(3, 2, 1, width=C)
    found, sizes = module.properties(tokens_of(content))
    want = np.sqrt([3, 2, 1])[:, None] * np.eye(3, C)
    assert_allclose(np.abs(found[0, :3]), want, atol=1e-5)
    assert_array_equal(sizes[0, :3], [3, 2, 1])


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_what_learns(lookup):
    """Values through the slots, the way back through the loss, keys by nothing but averages."""
    module = made(lookup=lookup)
    graphdef, params = abstract(
        lambda rngs: DictionaryConfig(**SMALL, lookup=lookup).make(
            num_slots=K, slot_dim=S, feature_dim=3, content_dim=C, rngs=rngs
        )
    )
    del graphdef, params
    from flax import nnx

    graphdef, state = nnx.split(module, nnx.Param)
    variables = module.init_variables(jax.random.key(7))
    keys, batch = jax.random.split(jax.random.key(0), 3), tokens()

    def loss(params, table, content):
        own = nnx.merge(graphdef, params)
        given = dataclasses.replace(batch, content=content)
        first, _ = own(given, keys, {"table": table}, train=True)
        return first.losses["dictionary"].sum() + jnp.square(first.slots.vectors).sum()

    found, to_table, to_content = quick_jit(jax.grad(loss, argnums=(0, 1, 2)))(
        state, variables["table"], batch.content
    )
    found = nnx.to_pure_dict(found)
    assert all((x == 0).all() for x in jax.tree.leaves(to_table))
    assert (to_content == 0).all()
    assert np.abs(found["mean"]).max() > 1e-3
    trained = "logits" if lookup == "gumbel" else "project_out"
    assert all(np.abs(x).max() > 1e-6 for x in jax.tree.leaves(found[trained]))


def test_divergence_from_even():
    module = made(lookup="gumbel")
    table = module.init_variables(jax.random.key(0))["table"]
    keys = jax.random.split(jax.random.key(0), 1)
    found = module.look_up(jnp.ones((1, 2, C)), table, keys, train=False)
    for logits, want in ((jnp.zeros((1, 2, 6)), 0), (1e4 * jnp.eye(6)[None, :2], math.log(6))):
        given = dataclasses.replace(found, logits=logits)
        assert_allclose(module._loss(given, jnp.ones((1, 2, C)), ALL), [want], atol=1e-6)


def test_only_allowed_entries():
    module = made()
    table = module.init_variables(jax.random.key(0))["table"]
    allowed = jnp.asarray([False, True, False, False, True, False])
    found = module.look_up(
        jnp.asarray(np.random.default_rng(0).standard_normal((4, 3, C)), jnp.float32),
        table,
        jax.random.split(jax.random.key(0), 4),
        train=False,
        allowed=allowed,
    )
    assert set(np.unique(found.codes)) <= {1, 4}


def test_parameter_counts():
    def count(**settings):
        _, params = abstract(
            lambda rngs: DictionaryConfig(**settings).make(
                num_slots=7, slot_dim=64, feature_dim=64, content_dim=64, rngs=rngs
            )
        )
        return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in params.items()}

    found = count(values="network")
    assert found["network"] == 532_480
    assert found["project_in"] + found["norm_in"] == 6_240 + 64
    assert found["project_out"] + found["norm_out"] == 6_272 + 128
    config = DictionaryConfig()
    module = filled(
        lambda rngs: config.make(
            num_slots=7, slot_dim=64, feature_dim=64, content_dim=64, rngs=rngs
        )
    )
    assert module.init_variables(jax.random.key(0))["table"]["keys"].size == 2_048


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "initializer.size=0"),
        ({"decay": 1.0}, "initializer.decay=1.0"),
        ({"gumbel_temperature": 0.0}, "initializer.gumbel_temperature=0.0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        DictionaryConfig(**settings)
