"""Section 8 of the Slot Mixture Module's sheet: hand-computed cases and properties."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import abstract, filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose

from modules.parity import keys_of
from slots.config import ConfigError
from slots.modules import SlotMixtureConfig
from slots.modules.base import token_weights
from slots.modules.slot_mixture import component_logits, log_spread, mixing_weights
from slots.types import Slots, Tokens

X = jnp.asarray([0.0, 1.0, 4.0, 6.0])[None, :, None]


def column(*values):
    """Parameters of one-dimensional components, [1,K,1]."""
    return jnp.asarray(values)[None, :, None]


def shares(x, mean, log_scale, prior, **options):
    options = {"normal": False, "scale": 1.0, "epsilon": 1e-8, **options}
    logits = component_logits(x, mean, log_scale, jnp.asarray(prior)[None], **options)
    return jax.nn.softmax(logits, axis=1), logits


def test_expectation_and_maximisation_never_lose_likelihood():
    """Plain EM on four points: no network, normal densities, counts as weights."""
    mean, log_scale, prior = column(1.0, 4.0), column(0.0, 0.0), (0.5, 0.5)
    found = []
    for number in range(5):
        attention, logits = shares(X, mean, log_scale, prior, normal=True)
        constant = 0.5 * np.log(2 * np.pi)
        found.append(float((jax.nn.logsumexp(logits, axis=1) - constant).sum()))
        if number == 0:
            want = [0.999447, 0.989013, 0.010987, 0.000028]
            assert_allclose(attention[0, 0], want, atol=1e-6)
        weights = token_weights(attention, None, 1e-8)
        mean = jnp.einsum("bkn,bnc->bkc", weights, X)
        log_scale = log_spread(X, weights, mean, 1e-12)
        prior = tuple(mixing_weights(attention, None)[0])
        if number == 0:
            assert_allclose(mean.ravel(), [0.516699, 4.982129], atol=1e-5)
            assert_allclose(np.exp(log_scale).ravel(), [0.562204, 1.043404], atol=1e-5)
            assert_allclose(prior, [0.499869, 0.500131], atol=1e-6)
    assert_allclose(found, [-8.925667, -7.091658, -7.061768, -7.061766, -7.061766], atol=2e-5)
    assert_allclose(mean.ravel(), [0.49993, 4.99943], atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_never_falls(seed):
    """On random points too, in double precision."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x = jnp.asarray(rng.standard_normal((1, 60, 3)) + 3 * rng.integers(0, 3, (1, 60, 1)))
        mean, log_scale = x[:, :4], jnp.zeros((1, 4, 3))
        prior, last = jnp.full((1, 4), 0.25), -np.inf
        for _ in range(30):
            logits = component_logits(
                x, mean, log_scale, prior, normal=True, scale=1.0, epsilon=1e-8
            )
            likelihood = float(jax.nn.logsumexp(logits, axis=1).sum())
            assert likelihood >= last - 1e-9
            last = likelihood
            attention = jax.nn.softmax(logits, axis=1)
            weights = token_weights(attention, None, 1e-30)
            mean = weights @ x
            log_scale = log_spread(x, weights, mean, 1e-30)
            prior = mixing_weights(attention, None)


def test_released_density():
    attention, _ = shares(X, column(1.0, 4.0), column(0.0, 0.0), (0.5, 0.5))
    assert_allclose(attention[0, 0], [1, 0.999877, 0.000123, 0.000001], atol=1e-6)
    weights = token_weights(attention, None, 1e-8)
    mean = jnp.einsum("bkn,bnc->bkc", weights, X)
    assert_allclose(mean.ravel(), [0.500187, 4.999814], atol=1e-5)
    spread = log_spread(X, weights, mean, 1e-8)
    assert_allclose(spread.ravel(), [-0.691652, 0.000465], atol=1e-5)


@pytest.mark.parametrize(
    ("normal", "want"),
    [
        (True, [0.666667, 0.578873, 0.308562, 0.064053]),
        (False, [0.5, 0.320821, 0.047426, 0.001170]),
    ],
)
def test_the_determinant_matters(normal, want):
    x = jnp.asarray([0.0, 1.0, 2.0, 3.0])[None, :, None]
    spread = column(0.0, float(np.log(2)))
    attention, _ = shares(x, column(0.0, 0.0), spread, (0.5, 0.5), normal=normal)
    assert_allclose(attention[0, 0], want, atol=1e-6)


def test_equal_spreads_and_weights_are_dot_products():
    rng = np.random.default_rng(0)
    k, q = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 9, 4), (2, 3, 4)))
    with jax.enable_x64(True):
        prior = jnp.full((2, 3), 1 / 3)
        logits = component_logits(
            k, q, jnp.zeros((2, 3, 4)), prior, normal=False, scale=0.5, epsilon=1e-30
        )
        dots = 0.5 * (2 * jnp.einsum("bkc,bnc->bkn", q, k) - jnp.square(q).sum(-1)[..., None])
        assert_allclose(jax.nn.softmax(logits, 1), jax.nn.softmax(dots, 1), atol=1e-6)


def naive(x, mean, log_scale, weights):
    gaps = x[:, None] - mean[:, :, None]
    distance = (jnp.square(gaps) * jnp.exp(-2 * log_scale)[:, :, None]).sum(-1)
    return distance, (weights[..., None] * jnp.square(gaps)).sum(2)


def test_multiplied_out_is_the_same():
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.uniform(-5, 5, (2, 50, 8)), jnp.float32)
    mean = jnp.asarray(rng.uniform(-5, 5, (2, 4, 8)), jnp.float32)
    log_scale = jnp.asarray(rng.uniform(-1, 1, (2, 4, 8)), jnp.float32)
    weights = jax.nn.softmax(jnp.asarray(rng.standard_normal((2, 4, 50)), jnp.float32))
    distance, variance = naive(x, mean, log_scale, weights)
    options = {"normal": True, "scale": 1.0, "epsilon": 1e-8}
    logits = component_logits(x, mean, log_scale, jnp.ones((2, 4)), **options)
    got = -2 * (logits + log_scale.sum(-1)[..., None])
    assert_allclose(got, distance, rtol=1e-4)
    assert_allclose(jnp.exp(2 * log_spread(x, weights, mean, 1e-8)), variance, rtol=1e-4)


def test_far_tokens_go_by_their_weights():
    x = jnp.full((1, 1, 1), 200**0.5)

    def share(x):
        return shares(x, column(0.0, 0.0), column(0.0, 0.0), (0.75, 0.25))[0].sum(2)[0, 0]

    value, gradient = jax.value_and_grad(share)(x)
    assert_allclose(value, 0.75, rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_counts_are_weights():
    attention = jnp.asarray([[[1.0, 1, 1, 0], [0, 0, 0, 1]]])
    assert_allclose(mixing_weights(attention, None), [[0.75, 0.25]])
    present = jnp.asarray([[True, True, False, True]])
    assert_allclose(mixing_weights(attention, present), [[2 / 3, 1 / 3]], rtol=1e-6)


def test_least_spread():
    x = jnp.full((1, 5, 2), 3.0)
    weights = jnp.full((1, 1, 5), 0.2)
    assert_allclose(log_spread(x, weights, jnp.full((1, 1, 2), 3.0), 1e-8), -9.21034, atol=1e-4)


def made(width=8, **settings):
    config = SlotMixtureConfig(**{"num_iterations": 3, "mlp_hidden": 8, **settings})
    slot_dim = 2 * width if config.output == "raw" else width
    return filled(
        lambda rngs: config.make(feature_dim=8, slot_dim=slot_dim, scale_factor=1.0, rngs=rngs)
    )


def inputs(batch=2, slots=3, tokens=10, width=8, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    features = Tokens(
        features=draw(batch, tokens, 8), positions=draw(batch, tokens, 2), grid=(1, tokens)
    )
    first = Slots(
        vectors=draw(batch, slots, width), extras={"log_scale": 0.1 * draw(batch, slots, width)}
    )
    return features, first


def grouped(module, tokens, slots, train=False):
    return quick_jit(
        lambda t, s: module(t, module.complete(s), keys_of(len(s.vectors)), train=train)
    )(tokens, slots)


def test_permutations():
    module, (tokens, slots) = made(), inputs()
    before = grouped(module, tokens, slots)
    order = np.array([2, 0, 1])
    turned = jax.tree.map(lambda x: x[:, order], slots)
    after = grouped(module, tokens, turned)
    assert_allclose(after.slots.vectors, before.slots.vectors[:, order], atol=2e-5)
    mixed = np.random.default_rng(0).permutation(10)
    moved = dataclasses.replace(tokens, features=tokens.features[:, mixed])
    assert_allclose(grouped(module, moved, slots).slots.vectors, before.slots.vectors, atol=2e-5)
    assert_allclose(before.attention.sum(1), np.ones((2, 10)), atol=1e-5)


def test_tokens_of_the_picture_have_no_order():
    module, (tokens, slots) = made(first="picture"), inputs()
    mixed = np.random.default_rng(0).permutation(10)
    moved = dataclasses.replace(tokens, features=tokens.features[:, mixed])
    want, got = (grouped(module, t, slots).slots.vectors for t in (tokens, moved))
    assert_allclose(got, want, atol=5e-5)


@pytest.mark.parametrize("settings", [{}, {"prior": "uniform"}, {"tie_values": True}])
def test_equal_components_stay_equal(settings):
    module, (tokens, slots) = made(num_iterations=5, **settings), inputs()
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:, :1], x.shape), slots)
    found = grouped(module, tokens, same)
    assert_allclose(found.attention, np.full(found.attention.shape, 1 / 3), atol=1e-6)
    spread = found.slots.vectors - found.slots.vectors[:, :1]
    assert np.abs(spread).max() < 1e-6


def test_joint_norm():
    module = made(width=2)
    norm = module.norm_slots
    norm.scale.set_value(jnp.ones(4))
    norm.bias.set_value(jnp.zeros(4))
    got = norm(jnp.asarray([1.0, 1, 0, 0]))
    assert_allclose(got, [0.99998, 0.99998, -0.99998, -0.99998], atol=1e-5)


@pytest.mark.parametrize("gradient", ["full", "bilevel", "last"])
def test_what_first_components_learn(gradient):
    module, (tokens, slots) = made(gradient=gradient), inputs()

    def loss(vectors, log_scale):
        first = Slots(vectors=vectors, extras={"log_scale": log_scale})
        found = module(tokens, module.complete(first), keys_of(2), train=True)
        return jnp.square(found.slots.vectors).sum()

    found = jax.grad(loss, argnums=(0, 1))(slots.vectors, slots.extras["log_scale"])
    for leaf in found:
        if gradient == "last":
            assert (leaf == 0).all()
        else:
            assert np.abs(leaf).max() > 1e-4


@pytest.mark.parametrize("density", ["released", "normal"])
@pytest.mark.parametrize("features", ["equal", "huge", "far"])
def test_finite_where_it_is_hard(density, features):
    module, (tokens, slots) = made(density=density, num_iterations=6), inputs()
    x = {
        "equal": jnp.ones_like(tokens.features),
        "huge": 1e6 * tokens.features,
        "far": tokens.features.at[:, 0].set(1e4),
    }[features]
    tokens = dataclasses.replace(tokens, features=x)
    slots = dataclasses.replace(slots, vectors=slots.vectors.at[:, 1].set(1e5))

    def loss(vectors):
        first = dataclasses.replace(slots, vectors=vectors)
        found = module(tokens, module.complete(first), keys_of(2), train=True)
        return jnp.square(found.slots.vectors).sum(), found

    (_, found), gradient = quick_jit(jax.value_and_grad(loss, has_aux=True))(slots.vectors)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((found, gradient)))


def test_tokens_that_do_not_exist_count_for_nothing():
    module, (tokens, slots) = made(first="picture"), inputs()
    present = jnp.arange(10)[None] < jnp.asarray([[7], [10]])
    found = [
        grouped(module, dataclasses.replace(tokens, features=x, mask=present), slots)
        for x in (tokens.features, tokens.features.at[0, 7:].set(9.0))
    ]
    assert_allclose(found[0].slots.vectors, found[1].slots.vectors, atol=1e-5)


def test_raw_slots_are_mean_and_spread():
    module, (tokens, slots) = made(output="raw"), inputs(width=16)
    found = grouped(module, tokens, Slots(vectors=slots.vectors))
    joined = jnp.concatenate([found.diagnostics["mean"], found.slots.extras["log_scale"]], -1)
    assert_allclose(found.slots.vectors, joined)


def test_dropout_is_for_training():
    module, (tokens, slots) = made(first="picture"), inputs()
    at_test = [grouped(module, tokens, slots).slots.vectors for _ in range(2)]
    in_training = grouped(module, tokens, slots, train=True).slots.vectors
    assert_allclose(*at_test)
    assert np.abs(in_training - at_test[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "total"),
    [
        ({"first": "picture"}, 286_464),
        ({}, 104_064 - 4 * 64),  # without the first law, which is an initializer's here
    ],
)
def test_parameter_count(settings, total):
    config = SlotMixtureConfig(**settings)

    _, params = abstract(
        lambda rngs: config.make(feature_dim=64, slot_dim=64, scale_factor=1.0, rngs=rngs)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    # PyTorch's GRU has a second bias for two of its gates.
    assert count + 2 * 64 == total


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, "module.epsilon=0.0"),
        ({"transformer_dropout": 1.0}, "module.transformer_dropout=1.0"),
        ({"num_iterations": -1}, "num_iterations=-1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        SlotMixtureConfig(**settings)


def test_an_odd_width_has_no_halves():
    with pytest.raises(ConfigError, match="slot_dim=7 must be even"):
        SlotMixtureConfig(output="raw").make(
            feature_dim=8, slot_dim=7, scale_factor=1.0, rngs=nnx.Rngs(0)
        )
