"""Section 8 of MESH's sheet, as far as it is about the module."""

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
from slots.modules import MESHConfig
from slots.types import Slots, Tokens

B, N, K, D, S = 2, 12, 3, 6, 8
PLANS = ("mesh", "sinkhorn", "emd")


def made(seed=0, **settings):
    settings = {"mlp_hidden": 8, "marginal_hidden": 8, "num_iterations": 2, **settings}
    config = MESHConfig(**settings)
    return filled(
        lambda rngs: config.make(feature_dim=D, slot_dim=S, scale_factor=1.0, rngs=rngs), seed
    )


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    features = jnp.asarray(rng.standard_normal((B, N, D)), jnp.float32)
    tokens = Tokens(features=features, positions=jnp.zeros((B, N, 2)), grid=(3, 4))
    return tokens, Slots(vectors=jnp.asarray(rng.standard_normal((B, K, S)), jnp.float32))


def grouped(module, tokens, slots, keys=None):
    keys = keys_of(len(slots.vectors)) if keys is None else keys
    return quick_jit(lambda t, s: module(t, module.complete(s), keys, train=True))(tokens, slots)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mass", [None, 7.5])
def test_masses(plan, mass):
    """Both sum to the total; slots get theirs exactly."""
    found = grouped(made(plan=plan, mass=mass), *inputs()).diagnostics
    total = K if mass is None else mass
    for side in ("slot_mass", "token_mass"):
        assert_allclose(found[side].sum(1), [total] * B, rtol=1e-5)
    assert_allclose(found["plan"].sum(2), found["slot_mass"], rtol=1e-4)
    assert_allclose(found["plan"].sum((1, 2)), [total] * B, rtol=1e-4)


def test_constant_masses_are_equal():
    module = made()
    for part in (module.slot_mass, module.token_mass):
        part.second.kernel.set_value(jnp.zeros_like(part.second.kernel[...]))
    found = grouped(module, *inputs()).diagnostics
    assert_allclose(found["slot_mass"], np.ones((B, K)), rtol=1e-6)
    assert_allclose(found["token_mass"], np.full((B, N), K / N), rtol=1e-6)


def equal_slots():
    tokens, slots = inputs()
    vectors = jnp.broadcast_to(slots.vectors[:, :1], slots.vectors.shape)
    return tokens, Slots(vectors=vectors)


def apart(found):
    vectors = np.asarray(found.slots.vectors)
    return np.abs(vectors[:, :, None] - vectors[:, None]).max(-1)[:, *np.triu_indices(K, 1)]


def test_softmax_and_sinkhorn_leave_equal_slots_equal():
    assert apart(grouped(made(plan="sinkhorn", num_iterations=4), *equal_slots())).max() < 1e-5


@pytest.mark.parametrize("plan", ["mesh", "emd"])
def test_equal_slots_become_different(plan):
    assert apart(grouped(made(plan=plan, num_iterations=3), *equal_slots())).min() > 0.05


def test_without_noise_mesh_cannot():
    assert apart(grouped(made(noise_scale=0.0), *equal_slots())).max() < 1e-4


def test_plans_are_sharper():
    def entropy(plan):
        attention = grouped(made(plan=plan), *inputs()).attention
        return -(attention * np.log(np.maximum(attention, 1e-12))).sum(1).mean()

    assert max(entropy("emd"), entropy("mesh")) < 0.5 * entropy("sinkhorn")


def test_noise_is_fresh_per_key_and_example():
    module, (tokens, slots) = made(), equal_slots()
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), (tokens, slots))
    first = grouped(module, *same)
    assert np.abs(first.slots.vectors[0] - first.slots.vectors[1]).max() > 1e-3
    assert_allclose(grouped(module, *same).slots.vectors, first.slots.vectors)
    other = grouped(module, *same, keys=jax.random.split(jax.random.key(1), B))
    assert np.abs(other.slots.vectors - first.slots.vectors).max() > 1e-3


def test_order_of_tokens_means_nothing():
    module, (tokens, slots) = made(plan="sinkhorn"), inputs()
    mixed = np.random.default_rng(0).permutation(N)
    moved = dataclasses.replace(tokens, features=tokens.features[:, mixed])
    want, got = (grouped(module, t, slots).slots.vectors for t in (tokens, moved))
    assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "dot"])
def test_a_query_may_lie_on_a_key(distance):
    """Where the plain root of a distance has no gradient."""
    module = made(distance=distance)
    q = jnp.asarray(np.random.default_rng(0).standard_normal((B, K, S)), jnp.float32)

    def loss(q, k):
        return module._distance(q, k).sum()

    found = jax.grad(loss, argnums=(0, 1))(q, jnp.concatenate([q, 0 * q, q + 1], axis=1))
    assert all(np.isfinite(x).all() for x in found)


def test_distances():
    q, k = jnp.asarray([[[3.0, 0, 0, 0]]]), jnp.asarray([[[0.0, 4, 0, 0], [6, 0, 0, 0]]])
    for distance, want in (("euclidean", (5, 3)), ("cosine", (1, 0)), ("dot", (0, -9))):
        module = MESHConfig(distance=distance).make(
            feature_dim=4, slot_dim=4, scale_factor=1.0, rngs=nnx.Rngs(0)
        )
        assert_allclose(module._distance(q, k)[0, 0], want, atol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_who_takes_no_part(plan):
    module, (tokens, slots) = made(plan=plan), inputs()
    active = jnp.asarray([[True, False, True], [True, True, True]])
    present = jnp.arange(N)[None] < jnp.asarray([[9], [N]])
    slots = dataclasses.replace(slots, active=active)
    found = [
        grouped(module, dataclasses.replace(tokens, features=x, mask=present), slots)
        for x in (tokens.features, tokens.features.at[0, 9:].set(7.0))
    ]
    assert_allclose(found[0].attention.sum(1), np.ones((B, N)), atol=1e-5)
    assert np.abs(found[0].attention[0, 1]).max() < 1e-6
    gap = np.abs(found[0].slots.vectors - found[1].slots.vectors)
    assert gap[:, [0, 2]].max() < 1e-4


@pytest.mark.parametrize("gradient", ["full", "bilevel", "last", "each"])
def test_what_first_slots_learn(gradient):
    module, (tokens, slots) = made(gradient=gradient, plan="sinkhorn", num_iterations=3), inputs()

    def loss(vectors):
        found = module(tokens, Slots(vectors=vectors), keys_of(B), train=True)
        return jnp.square(found.slots.vectors).sum()

    found = np.abs(quick_jit(jax.grad(loss))(slots.vectors)).max()
    assert (found == 0) == (gradient in ("last", "each"))


def test_a_learned_rate_learns():
    module, (tokens, slots) = made(learn_rate=True, mesh_rate=1.0), inputs()

    graphdef, params = nnx.split(module, nnx.Param)

    def loss(params):
        found = nnx.merge(graphdef, params)(tokens, slots, keys_of(B), train=True)
        return jnp.square(found.slots.vectors).sum()

    gradient = nnx.to_pure_dict(quick_jit(jax.grad(loss))(params))["rate"]
    assert gradient.shape == (1,)
    assert abs(gradient[0]) > 1e-6


def test_the_exact_plan_may_learn_from_the_entropic_one():
    tokens, slots = inputs()
    found = {}
    for given in ("none", "entropic"):
        module = made(plan="emd", emd_gradient=given, num_iterations=1)

        def loss(features, module=module):
            whole = dataclasses.replace(tokens, features=features)
            out = module(whole, slots, keys_of(B), train=True)
            return out.diagnostics["plan"].sum(2)[:, 0].sum() + jnp.square(
                out.diagnostics["plan"]
            ).sum(), out.diagnostics["plan"]

        (_, plan), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(tokens.features)
        found[given] = plan, np.abs(gradient).max()
    assert_allclose(found["none"][0], found["entropic"][0], atol=1e-5)
    assert found["none"][1] == 0
    assert found["entropic"][1] > 1e-4


def test_parameter_count():
    _, params = abstract(
        lambda rngs: MESHConfig().make(feature_dim=32, slot_dim=64, scale_factor=1.0, rngs=rngs)
    )
    sizes = {name: sum(x.size for x in jax.tree.leaves(p)) for name, p in params.items()}
    masses = sizes.pop("slot_mass") + sizes.pop("token_mass")
    assert masses == 12_800
    # Two first laws of 64 are an initializer's here; PyTorch's GRU has a second bias for two gates.
    assert sum(sizes.values()) + 2 * 64 + 2 * 64 == 50_176


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "module.temperature=0.0"),
        ({"sweeps": 0}, "module.sweeps=0"),
        ({"mesh_steps": -1}, "module.mesh_steps=-1"),
        ({"mass": 0.0}, "module.mass=0.0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        MESHConfig(**settings)
