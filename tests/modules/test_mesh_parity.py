"""The transport family against stored answers of the published implementation."""

import jax
import jax.numpy as jnp
import pytest
from contracts.filled import quick_jit
from contracts.vectors import (
    Vectors,
    assert_close,
    binder,
    stored,
    torch_gru,
    torch_linear,
    torch_norm,
)

from modules.parity import draw_stored, grouping_with_gradients, module
from slots.modules import MESHConfig
from slots.nn.sinkhorn import minimize_entropy, sinkhorn

pytestmark = pytest.mark.parity


def turned(x):
    """Tokens by slots, as stored, to slots by tokens."""
    return jnp.swapaxes(jnp.asarray(x), -1, -2)


@pytest.mark.parametrize("path", stored("mesh_sinkhorn*"))
def test_sinkhorn(path):
    v = Vectors(path)
    cost, tokens, slots = turned(v["in/cost"]), *map(jnp.asarray, (v["in/a"], v["in/b"]))
    options = {
        "sweeps": v.hyper("n_sh_iters", 5),
        "temperature": v.hyper("temperature", 1.0),
    }

    def check(found, prefix=""):
        plan, on_tokens, on_slots = found
        assert_close(plan, turned(v[f"out/{prefix}attention"]), 1e-5, f"{prefix}plan")
        if f"out/{prefix}u" in v:
            assert_close(on_tokens, v[f"out/{prefix}u"], 1e-5, f"{prefix}u")
            assert_close(on_slots, v[f"out/{prefix}v"], 1e-5, f"{prefix}v")

    check(sinkhorn(cost, slots, tokens, **options))
    warm = {**options, "sweeps": 1, "start": jnp.asarray(v["in/v0"])}
    check(sinkhorn(cost, slots, tokens, **warm), "warm_1iter_")
    check(sinkhorn(cost, jnp.asarray(v["in/b_zero"]), tokens, **options), "b_zero_")

    def loss(cost, slots, tokens):
        return jnp.vdot(sinkhorn(cost, slots, tokens, **options)[0], turned(v["in/cotangent"]))

    gradients = quick_jit(jax.grad(loss, argnums=(0, 1, 2)))(cost, slots, tokens)
    assert_close(gradients[0], turned(v["grad/cost"]), 1e-4, "gradient of cost")
    assert_close(gradients[1], v["grad/b"], 1e-4, "gradient of b")
    assert_close(gradients[2], v["grad/a"], 1e-4, "gradient of a")


@pytest.mark.parametrize("path", stored("mesh_minimize_entropy*"))
@pytest.mark.parametrize("warm", [True, False])
def test_minimize_entropy(path, warm):
    v = Vectors(path)
    prefix = "" if warm else "no_reuse_"
    start = turned(v["in/cost"] + v.hyper("noise_scale", 1e-3) * v["in/noise"])
    masses = jnp.asarray(v["in/b"]), jnp.asarray(v["in/a"])
    total = v.hyper("n_mesh_iters", 4)

    def moved(start, *masses, steps=total):
        return minimize_entropy(
            start,
            *masses,
            steps=steps,
            learning_rate=v.hyper("mesh_lr", 1.0),
            sweeps=v.hyper("n_sh_iters", 5),
            warm_start=warm,
        )

    def final(start, *masses):
        cost, on_slots = moved(start, *masses)
        plan, _, _ = sinkhorn(
            cost,
            *masses,
            sweeps=v.hyper("final_n_sh_iters", 5),
            temperature=v.hyper("final_temperature", 1.0),
            start=on_slots,
        )
        return jnp.vdot(plan, turned(v["in/cotangent"])), (plan, cost, on_slots)

    for steps in range(1, total):
        want = turned(v[f"out/{prefix}cost_after_{steps}"])
        assert_close(moved(start, *masses, steps=steps)[0], want, 1e-5, f"cost after {steps}")
    compute = quick_jit(jax.value_and_grad(final, argnums=(0, 1, 2), has_aux=True))
    (_, (plan, cost, on_slots)), gradients = compute(start, *masses)
    assert_close(cost, turned(v[f"out/{prefix}cost_final"]), 1e-5, "cost")
    assert_close(plan, turned(v[f"out/{prefix}attention"]), 1e-5, "plan")
    if warm:
        assert_close(on_slots, v["out/v"], 1e-5, "v")
    assert_close(gradients[0], turned(v[f"grad/{prefix}cost"]), 1e-4, "gradient of cost")
    assert_close(gradients[1], v[f"grad/{prefix}b"], 1e-4, "gradient of b")
    assert_close(gradients[2], v[f"grad/{prefix}a"], 1e-4, "gradient of a")


def mesh_params(v, gradient=False):
    read = v.gradient if gradient else v.param
    bias = v.has("project_q/bias")

    def mass(name):
        return {
            "first": torch_linear(read, f"{name}/0"),
            "second": torch_linear(read, f"{name}/2", bias=False),
        }

    params = {
        "norm_inputs": torch_norm(read, "norm_inputs"),
        "norm_slots": torch_norm(read, "norm_slots"),
        "norm_mlp": torch_norm(read, "norm_mlp"),
        "query": torch_linear(read, "project_q", bias),
        "key": torch_linear(read, "project_k", bias),
        "value": torch_linear(read, "project_v", bias),
        "gru": torch_gru(v, "gru", gradient),
        "mlp": {"first": torch_linear(read, "mlp/0"), "second": torch_linear(read, "mlp/2")},
        "slot_mass": mass("mlp_slot_marginals"),
        "token_mass": mass("mlp_input_marginals"),
    }
    return params | ({"rate": read("lr")} if v.has("lr") else {})


@pytest.mark.parametrize(
    "path", [*stored("mesh_slot_attention_sinkhorn*"), *stored("mesh_slot_attention_mesh*")]
)
def test_module(path, monkeypatch):
    v = Vectors(path)
    tokens, first = v["in/tokens"], v["in/initial_slots"]
    mesh = "in/noise" in v
    distance = v.hyper("pairwise_distance", "l2")
    if distance == "dot_prod":
        pytest.skip("the reference moves mass by the dot product itself, ours by minus it")
    config = MESHConfig(
        plan="mesh" if mesh else "sinkhorn",
        num_iterations=v.hyper("n_sa_iters", 3),
        distance={"l2": "euclidean", "cosine": "cosine"}[distance],
        cost_scale=v.hyper("scale_cost", 1.0),
        mass=v.hyper("scale_marginals", float(first.shape[1])),
        temperature=v.hyper("temperature", 1.0),
        sweeps=v.hyper("n_sh_iters", 5),
        mesh_steps=v.hyper("n_mesh_iters", 4),
        mesh_sweeps=v.hyper("mesh_n_sh_iters", 5),
        mesh_rate=v.hyper("mesh_lr", 8.0),
        learn_rate=v.has("lr"),
        warm_start=bool(v.hyper("reuse_u_v", 1)),
        mlp_hidden=v.param("mlp/0/weight").shape[0],
        marginal_hidden=v.param("mlp_slot_marginals/0/weight").shape[0],
        layer_norm_epsilon=v.hyper("layernorm_epsilon", 1e-5),
    )
    params = mesh_params(v)
    bind = binder(module(config, tokens.shape[-1], first.shape[-1]), params)
    if mesh:
        draw_stored(monkeypatch, turned(v["in/noise"]))
    grouping, gradients = grouping_with_gradients(bind, params, tokens, first, v["in/cotangent"])

    assert_close(grouping.slots.vectors, v["out/slots"], 1e-5, "slots")
    assert_close(grouping.diagnostics["plan"], turned(v["out/attention"]), 1e-5, "plan")

    def normalised(plan):
        return turned(plan) / turned(plan).sum(-2, keepdims=True)

    assert_close(grouping.attention, normalised(v["out/attention"]), 1e-4, "attention")
    rounds = grouping.diagnostics["attention_per_iteration"]
    assert_close(rounds, normalised(v["out/attention_all"]), 1e-4, "attention per round")
    assert_close(gradients[0], mesh_params(v, gradient=True), 1e-4, "gradient of ")
    assert_close(gradients[1], v["grad/tokens"], 1e-4, "gradient of tokens")
    assert_close(gradients[2], v["grad/initial_slots"], 1e-4, "gradient of first slots")
    assert not v.unused_gradients()
