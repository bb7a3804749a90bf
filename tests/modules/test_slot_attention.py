"""What Slot Attention must satisfy (Locatello et al. 2020), property before number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.initializers import GaussianConfig
from slots.modules import SlotAttention, SlotAttentionConfig
from slots.types import Slots, Tokens

B, N, K, D, S = 2, 6, 3, 5, 4


def make(seed=0, dtype=np.float32, **settings):
    config = SlotAttentionConfig(**{"mlp_hidden": 7, "num_iterations": 2, **settings})

    def build(rngs):
        return config.make(feature_dim=D, slot_dim=S, scale_factor=1.0, rngs=rngs)

    return filled(build, seed, dtype)


def problem(seed=0, slots=K, dtype=np.float32):
    rng = np.random.default_rng(seed)
    tokens = tokens_of(rng.standard_normal((B, N, D)).astype(dtype))
    return tokens, Slots(vectors=jnp.asarray(rng.standard_normal((B, slots, S)), dtype))


def tokens_of(features, mask=None):
    features = jnp.asarray(features)
    return Tokens(
        features=features, positions=jnp.zeros((*features.shape[:2], 2)), mask=mask, grid=(2, 3)
    )


def apply(module, tokens, slots, train=True):
    keys = jax.random.split(jax.random.key(0), len(slots.vectors))
    return module(tokens, slots, keys, train=train)


run = quick_jit(apply, static_argnames="train")


def read_only(module):
    """One round whose slots come out as what was read from the tokens: no GRU, no MLP."""
    assert module.config.num_iterations == 1
    module.gru = lambda state, inputs: inputs
    module.mlp = module.norm_mlp = None
    return module


def read(module, tokens, slots):
    return quick_jit(lambda tokens, slots: apply(module, tokens, slots))(tokens, slots)


class Shifted(SlotAttention):
    """Adds a constant to the logits."""

    def _logits(self, vectors, features):
        return super()._logits(vectors, features) + self.shift


def shifted(shift, **settings):
    """Slot Attention with `shift` [B,1,K,N] on its logits."""
    config = SlotAttentionConfig(**{"mlp_hidden": 7, "num_iterations": 2, **settings})
    module = filled(lambda rngs: Shifted(config, D, S, rngs=rngs))
    module.shift = nnx.data(jnp.asarray(shift, jnp.float32))
    return module


@pytest.mark.parametrize("heads", [1, 2])
def test_slots_compete_for_each_token(heads):
    grouping = run(make(num_heads=heads), *problem())
    assert grouping.attention.shape == (B, K, N)
    rounds = grouping.diagnostics["attention_per_iteration"]
    assert rounds.shape == (B, 2, K, N)
    assert_allclose(rounds.sum(axis=2), np.ones((B, 2, N)), atol=1e-6)
    assert_array_equal(rounds[:, -1], grouping.attention)
    assert np.ptp(grouping.attention, axis=1).max() > 0.05  # else the axis does not matter


@pytest.mark.parametrize("epsilon_on", ["entries", "sum"])
def test_weights_of_a_slot_sum_to_one_over_tokens(epsilon_on):
    module = read_only(make(num_iterations=1, epsilon_on=epsilon_on, use_bias=True))
    module.value.kernel[...] = jnp.zeros((D, S))
    module.value.bias[...] = jnp.ones(S)  # every token says the same, so the mean does
    tokens, slots = problem()
    assert_allclose(read(module, tokens, slots).slots.vectors, np.ones((B, K, S)), atol=3e-7)


@pytest.mark.parametrize("epsilon_on", ["entries", "sum"])
def test_keys_and_values_could_as_well_be_made(epsilon_on):
    """One round of two heads, written as the paper has it; outputs and all gradients."""
    heads = 2

    def plain(module, tokens, slots):
        def split(x):
            return jnp.swapaxes(x.reshape(*x.shape[:2], heads, -1), 1, 2)

        features = module.norm_inputs(tokens.features)
        q = split(module.query(module.norm_slots(slots.vectors)))
        k, v = split(module.key(features)), split(module.value(features))
        attention = jax.nn.softmax(q @ jnp.swapaxes(k, 2, 3) / jnp.sqrt(S // heads), axis=2)
        epsilon = 0.1
        weights = attention + (epsilon if epsilon_on == "entries" else 0)
        total = weights.sum(-1, keepdims=True) + (epsilon if epsilon_on == "sum" else 0)
        read = jnp.swapaxes(weights / total @ v, 1, 2).reshape(B, K, S)
        vectors = module.gru(slots.vectors, module.merge(read))
        vectors = vectors + module.mlp(module.norm_mlp(vectors))
        return vectors, attention.mean(1)

    def ours(module, tokens, slots):
        grouping = apply(module, tokens, slots)
        return grouping.slots.vectors, grouping.attention

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        module = make(
            dtype=np.float64,
            num_iterations=1,
            num_heads=heads,
            use_bias=True,
            epsilon=0.1,
            epsilon_on=epsilon_on,
        )
        graph, params = nnx.split(module)
        tokens, slots = problem(dtype=np.float64)

        def outputs_and_gradients(form):
            def fixed(params, features, vectors):
                made = form(nnx.merge(graph, params), tokens_of(features), Slots(vectors=vectors))
                return sum(
                    (jnp.sin(i + jnp.arange(x.size)) * x.ravel()).sum() for i, x in enumerate(made)
                ), made

            both = jax.value_and_grad(fixed, argnums=(0, 1, 2), has_aux=True)
            return quick_jit(both)(params, tokens.features, slots.vectors)

        for x, y in zip(
            *map(jax.tree.leaves, map(outputs_and_gradients, (ours, plain))), strict=True
        ):
            assert x.dtype == np.float64
            assert_allclose(x, y, rtol=0, atol=1e-13)


def test_token_permutation_leaves_slots_alone():
    order = np.random.default_rng(3).permutation(N)
    # flax's norms promote inside
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        module = make(dtype=np.float64)
        tokens, slots = problem(dtype=np.float64)
        straight = run(module, tokens, slots)
        permuted = run(module, tokens_of(tokens.features[:, order]), slots)
        assert straight.slots.vectors.dtype == np.float64
        assert_allclose(permuted.slots.vectors, straight.slots.vectors, rtol=0, atol=1e-12)
        assert_allclose(permuted.attention, straight.attention[:, :, order], rtol=0, atol=1e-12)
    assert np.abs(straight.slots.vectors - slots.vectors).max() > 0.1


def test_slot_permutation_permutes_outputs():
    order = np.array([2, 0, 1])
    module = make()
    tokens, slots = problem()
    straight = run(module, tokens, slots)
    permuted = run(module, tokens, Slots(vectors=slots.vectors[:, order]))
    assert_allclose(permuted.slots.vectors, straight.slots.vectors[:, order], atol=1e-6)
    assert_allclose(permuted.attention, straight.attention[:, order], atol=1e-6)


def test_a_single_slot_reads_the_plain_mean():
    tokens, slots = problem(slots=1)
    module = read_only(make(num_iterations=1))
    grouping = read(module, tokens, slots)
    assert_array_equal(grouping.attention, np.ones((B, 1, N)))
    mean = module.value(module.norm_inputs(tokens.features)).mean(axis=1, keepdims=True)
    assert_allclose(grouping.slots.vectors, mean, atol=1e-6)
    module.query = jnp.zeros_like
    assert_array_equal(read(module, tokens, slots).slots.vectors, grouping.slots.vectors)


@pytest.mark.parametrize("rounds", [1, 5])
def test_equal_slots_stay_equal(rounds):
    tokens, slots = problem()
    equal = Slots(vectors=jnp.broadcast_to(slots.vectors[:, :1], (B, K, S)))
    grouping = run(make(num_iterations=rounds), tokens, equal)
    first = np.broadcast_to(grouping.slots.vectors[:, :1], (B, K, S))
    assert_allclose(grouping.slots.vectors, first, atol=1e-6)
    assert_allclose(grouping.attention, np.full((B, K, N), 1 / K), atol=1e-6)


@pytest.mark.parametrize("epsilon_on", ["entries", "sum"])
def test_slot_that_nobody_chose(epsilon_on):
    lost = np.zeros((B, 1, K, N))
    lost[:, :, 1] = -1e4
    module = read_only(shifted(lost, num_iterations=1, epsilon_on=epsilon_on))
    tokens, slots = problem()
    grouping = read(module, tokens, slots)
    assert_array_equal(grouping.attention[:, 1], np.zeros((B, N)))
    mean = module.value(module.norm_inputs(tokens.features)).mean(axis=1)
    wanted = mean if epsilon_on == "entries" else np.zeros((B, S))
    assert_allclose(grouping.slots.vectors[:, 1], wanted, atol=1e-6)
    assert np.abs(mean).max() > 0.1


def test_no_round_returns_the_first_slots():
    tokens, slots = problem()
    grouping = run(make(num_iterations=0), tokens, slots)
    assert_array_equal(grouping.slots.vectors, slots.vectors)
    assert_allclose(grouping.attention, np.full((B, K, N), 1 / K), rtol=1e-6)


def test_worked_example_without_weights():
    config = SlotAttentionConfig(num_iterations=1, mlp_hidden=0)
    module = read_only(
        filled(lambda rngs: config.make(feature_dim=2, slot_dim=2, scale_factor=1.0, rngs=rngs))
    )
    for layer in (module.query, module.key, module.value):
        layer.kernel[...] = jnp.eye(2)
    module.norm_inputs = module.norm_slots = lambda x: x
    tokens = tokens_of([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    slots = Slots(vectors=jnp.array([[[1.0, 0.0], [0.0, 1.0]]]))
    grouping = read(module, tokens, slots)
    attention = [[[0.669762, 0.330238, 0.5], [0.330238, 0.669762, 0.5]]]
    assert_allclose(grouping.attention, attention, atol=1e-6)
    assert_allclose(
        grouping.slots.vectors, [[[0.779841, 0.553492], [0.553492, 0.779841]]], atol=1e-6
    )
    weights = grouping.attention[0, 0] / grouping.attention[0, 0].sum()
    assert_allclose(weights, [0.446508, 0.220159, 0.333333], atol=1e-6)


def test_shifting_all_logits_of_a_token_changes_nothing():
    shift = np.random.default_rng(0).uniform(-9, 9, (B, 1, 1, N))
    straight = run(shifted(np.zeros((B, 1, 1, N))), *problem())
    moved = run(shifted(shift), *problem())
    assert_allclose(moved.slots.vectors, straight.slots.vectors, atol=2e-5)
    assert_allclose(moved.attention, straight.attention, atol=2e-6)


def with_gaussian(num_slots, **settings):
    """Gradients of a random function of the slots to the initializer's and module's parameters."""
    tokens, _ = problem()
    initializer = filled(
        lambda rngs: GaussianConfig().make(
            num_slots=num_slots, slot_dim=S, feature_dim=D, content_dim=D, rngs=rngs
        )
    )
    keys = jax.random.split(jax.random.key(7), B)

    def loss(parts):
        first, _ = parts[0](tokens, keys, {}, train=True)
        grouping = parts[1](tokens, first.slots, keys, train=True)
        return jnp.square(grouping.slots.vectors).sum()

    gradients = quick_jit(jax.grad(loss))((initializer, make(**settings)))
    return [nnx.to_pure_dict(nnx.state(g, nnx.Param)) for g in gradients]


def test_gradients_are_finite_and_reach_everything():
    initializer, module = with_gaussian(K)
    # A bias on the query side shifts all slots' logits alike, which the softmax ignores.
    unseen = module["norm_slots"].pop("bias")
    assert_allclose(unseen, np.zeros(S), atol=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path((initializer, module)):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-4, path
    assert {"mean", "log_scale"} == set(initializer)


def test_query_and_key_get_gradients_only_through_attention():
    _, module = with_gaussian(1)  # one slot: nothing to attend between
    assert_array_equal(module["query"]["kernel"], np.zeros((S, S)))
    assert_array_equal(module["key"]["kernel"], np.zeros((D, S)))
    assert np.abs(module["value"]["kernel"]).max() > 1e-4


def gradients_of(module, tokens, slots, cotangent):
    def loss(module, vectors):
        grouping = apply(module, tokens, Slots(vectors=vectors))
        return jnp.vdot(grouping.slots.vectors, cotangent), grouping

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, grouping), (weights, first) = compute(module, slots.vectors)
    return grouping, nnx.to_pure_dict(nnx.state(weights, nnx.Param)), first


def test_gradient_truncation():
    tokens, slots = problem()
    cotangent = jnp.asarray(np.random.default_rng(5).standard_normal((B, K, S)), jnp.float32)
    found = {
        mode: gradients_of(make(gradient=mode), tokens, slots, cotangent)
        for mode in ("full", "last", "bilevel")
    }
    for mode in ("last", "bilevel"):  # the forward pass is the same function
        same = functools.partial(assert_allclose, atol=1e-6)
        jax.tree.map(same, found[mode][0], found["full"][0])

    before_last = run(make(num_iterations=1), tokens, slots).slots
    _, weights, first = gradients_of(make(num_iterations=1), tokens, before_last, cotangent)
    assert_array_equal(found["last"][2], np.zeros((B, K, S)))
    assert_allclose(found["bilevel"][2], first, atol=1e-5)
    for mode in ("last", "bilevel"):  # parameters learn from the last round alone
        jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-4), found[mode][1], weights)
    assert np.abs(found["full"][2] - first).max() > 1e-2
    full, last = found["full"][1]["value"]["kernel"], weights["value"]["kernel"]
    assert np.abs(full - last).max() > 1e-2


@pytest.mark.parametrize("epsilon_on", ["entries", "sum"])
def test_masked_tokens_have_no_influence(epsilon_on):
    module = make(epsilon_on=epsilon_on)
    tokens, slots = problem()
    mask = jnp.arange(N)[None] < jnp.array([[4], [4]])
    masked = run(module, tokens_of(tokens.features, mask), slots)
    other = tokens.features.at[:, 4:].set(99.0)
    changed = run(module, tokens_of(other, mask), slots)
    assert_array_equal(changed.slots.vectors, masked.slots.vectors)
    assert_array_equal(changed.attention[:, :, :4], masked.attention[:, :, :4])
    alone = run(module, tokens_of(tokens.features[:, :4]), slots)
    assert_allclose(masked.slots.vectors, alone.slots.vectors, atol=1e-6)
    free = run(module, tokens, slots)
    assert np.abs(free.slots.vectors - masked.slots.vectors).max() > 1e-3


@pytest.mark.parametrize("epsilon_on", ["entries", "sum"])
def test_nothing_but_masked_tokens_stays_finite(epsilon_on):
    module = make(epsilon_on=epsilon_on, num_iterations=1)
    tokens, slots = problem()
    tokens = tokens_of(tokens.features, jnp.zeros((B, N), bool).at[0].set(True))
    _, weights, first = gradients_of(module, tokens, slots, jnp.ones((B, K, S)))
    grouping = run(module, tokens, slots)
    for leaf in jax.tree.leaves((grouping.slots.vectors, weights, first)):
        assert np.isfinite(leaf).all()


def test_inactive_slots_take_no_part():
    module = make()
    tokens, slots = problem()
    active = jnp.array([[True, False, True], [True, True, False]])
    grouping = run(module, tokens, dataclasses.replace(slots, active=active))
    assert_array_equal(np.asarray(grouping.attention)[~np.asarray(active)], np.zeros((2, N)))
    assert_allclose(grouping.attention.sum(1), np.ones((B, N)), atol=1e-6)
    assert_array_equal(grouping.slots.active, active)
    other = jnp.where(active[..., None], slots.vectors, 50.0)
    changed = run(module, tokens, Slots(vectors=other, active=active))
    alive = np.asarray(active)
    assert_array_equal(
        np.asarray(changed.slots.vectors)[alive], np.asarray(grouping.slots.vectors)[alive]
    )
    two = run(module, tokens_of(tokens.features), Slots(vectors=slots.vectors[:, ::2]))
    assert_allclose(grouping.slots.vectors[0, ::2], two.slots.vectors[0], atol=1e-6)


def test_no_active_slot_stays_finite():
    tokens, slots = problem()
    grouping = run(make(), tokens, dataclasses.replace(slots, active=jnp.zeros((B, K), bool)))
    assert np.isfinite(grouping.slots.vectors).all()


def test_temperature_divides_the_logits():
    tokens, slots = problem()
    cold = run(make(temperature=0.25), tokens, slots)
    module = make()
    module.query.kernel[...] = module.query.kernel[...] * 4
    assert_allclose(cold.slots.vectors, run(module, tokens, slots).slots.vectors, atol=1e-5)
    warm = run(make(), tokens, slots)
    first = cold.diagnostics["attention_per_iteration"][:, 0]
    assert (first.max(1) > warm.diagnostics["attention_per_iteration"][:, 0].max(1)).all()


def test_rounds_outside_training():
    module = make(num_iterations=1, eval_iterations=2)
    tokens, slots = problem()
    grouping = run(module, tokens, slots, train=False)
    assert grouping.diagnostics["attention_per_iteration"].shape == (B, 2, K, N)
    trained = run(make(num_iterations=2), tokens, slots)
    assert_allclose(grouping.slots.vectors, trained.slots.vectors, atol=1e-5)


def test_extras_and_frames_pass_through():
    tokens, slots = problem()
    slots = dataclasses.replace(slots, extras={"weight": jnp.ones((B, K))})
    assert_array_equal(run(make(), tokens, slots).slots.extras["weight"], np.ones((B, K)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"num_iterations": -1}, "num_iterations=-1"),
        ({"eval_iterations": -2}, "eval_iterations=-2"),
        ({"attention_dim": 6, "num_heads": 4}, "attention_dim=6"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        SlotAttentionConfig(**settings)


def test_heads_must_divide_the_slots_width():
    with pytest.raises(ConfigError, match="num_heads=3"):
        make(num_heads=3)
