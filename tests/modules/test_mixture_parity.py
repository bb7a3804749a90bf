"""The Slot Mixture Module against stored answers of the published implementation."""

import jax
import jax.numpy as jnp
import numpy as np
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
from slots.initializers import MixtureConfig
from slots.modules import SlotMixtureConfig
from slots.types import Tokens

pytestmark = pytest.mark.parity


def step_params(v, gradient=False):
    read = v.gradient if gradient else v.param
    return {
        "norm_slots": torch_norm(read, "norm_slots"),
        "query": torch_linear(read, "to_q", bias=False),
        "gru": torch_gru(v, "gru_mu", gradient),
        "norm_mlp": torch_norm(read, "norm_mu"),
        "mlp": perceptron(read, "mlp_mu"),
    }


def perceptron(read, name):
    return {"first": torch_linear(read, f"{name}/0"), "second": torch_linear(read, f"{name}/2")}


def module_params(v, gradient=False, *, tied):
    read = v.gradient if gradient else v.param
    params = step_params(v, gradient) | {
        "norm_inputs": torch_norm(read, "norm_input"),
        "key": torch_linear(read, "to_k", bias=False),
        "project": perceptron(read, "mlp_out"),
    }
    return params if tied else params | {"value": torch_linear(read, "to_v", bias=False)}


def first_params(v, depth, gradient=False):
    read = v.gradient if gradient else v.param

    def attention(name):
        return {
            "query": torch_linear(read, f"{name}/to_q", bias=False),
            "key": torch_linear(read, f"{name}/to_k", bias=False),
            "value": torch_linear(read, f"{name}/to_v", bias=False),
            "output": torch_linear(read, f"{name}/to_out/0"),
        }

    def block(name):
        return {
            "norms": {i: torch_norm(read, f"{name}/norm{i + 1}") for i in range(3)},
            "first": attention(f"{name}/attn1"),
            "second": attention(f"{name}/attn2"),
            "widen": torch_linear(read, f"{name}/ff/net/0/0"),
            "narrow": torch_linear(read, f"{name}/ff/net/2"),
        }

    return {
        "mean": read("mu").ravel(),
        "log_scale": read("logsigma").ravel(),
        "norm": torch_norm(read, "transf/norm"),
        "blocks": {i: block(f"transf/transformer_blocks/{i}") for i in range(depth)},
        "mean_head": perceptron(read, "mu_init"),
        "log_scale_head": perceptron(read, "sigma_init"),
    }


@pytest.mark.parametrize("path", stored("smm_step*"))
def test_step(path):
    v = Vectors(path)
    width = v["in/keys"].shape[-1]
    assert v.hyper("scale", None) == pytest.approx(width**-0.5)
    config = SlotMixtureConfig(
        prior="uniform",
        mlp_hidden=v.param("mlp_mu/0/weight").shape[0],
        epsilon=v.hyper("eps", 1e-8),
    )
    rest = {  # what a step does not use
        "norm_inputs": {"scale": np.ones(width), "bias": np.zeros(width)},
        "key": {"kernel": np.eye(width)},
        "value": {"kernel": np.eye(width)},
        "project": {
            "first": {
                "kernel": np.zeros((2 * width, 2 * config.mlp_hidden)),
                "bias": np.zeros(2 * config.mlp_hidden),
            },
            "second": {"kernel": np.zeros((2 * config.mlp_hidden, width)), "bias": np.zeros(width)},
        },
    }
    rest = jax.tree.map(np.float32, rest)
    params = step_params(v) | rest
    bind = binder(module(config, width, width), params)

    def loss(mean, log_scale, prior, keys, values):
        attention, state = bind(params)._round(
            keys, values, (mean, log_scale, prior[..., 0]), None, None
        )
        joined = jnp.concatenate(state[:2], axis=-1)
        return jnp.vdot(joined, v["in/cotangent"]), (attention, state)

    given = [v[f"in/{name}"] for name in ("mu", "logsigma", "pi", "keys", "values")]
    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4), has_aux=True))
    (_, (attention, (mean, log_scale, _))), gradients = compute(*given)
    assert_close(mean, v["out/mu"], 1e-5, "mean")
    assert_close(log_scale, v["out/logsigma"], 1e-5, "log scale")
    weights = attention / attention.sum(-1, keepdims=True)
    assert_close(weights, v["out/attention"], 1e-5, "attention")
    for name, got in zip(("mu", "logsigma", "pi", "keys", "values"), gradients, strict=True):
        assert_close(got, v[f"grad/{name}"], 1e-4, f"gradient of {name}")


@pytest.mark.parametrize("path", stored("smm_fair_gmm*"))
def test_like_for_like(path, monkeypatch):
    v = Vectors(path)
    tokens, noise = v["in/tokens"], v["in/noise"]
    config = SlotMixtureConfig(
        num_iterations=v.hyper("n_steps_run", 4),
        distance_scale="one",
        tie_values=True,
        mlp_hidden=v.param("mlp_mu/0/weight").shape[0],
        epsilon=v.hyper("eps", 1e-8),
        gradient="last",
        cut_prior=False,
    )
    params = module_params(v, tied=True)
    bind = binder(module(config, tokens.shape[-1], v["out/slots"].shape[-1]), params)
    size, count, width = len(noise), noise.shape[1], v["out/slots"].shape[-1]
    law = {
        "mean": v.param("slots_mu").ravel(),
        "log_scale": v.param("slots_logsigma").ravel(),
    }
    bind_first = binder(
        lambda rngs: MixtureConfig().make(
            num_slots=count, slot_dim=width, feature_dim=1, content_dim=1, rngs=rngs
        ),
        law,
    )
    keys = draw_stored(monkeypatch, noise)

    def loss(params, features, law):
        places = jnp.zeros((*features.shape[:2], 2))
        tokens = Tokens(features=features, positions=places, grid=(1, features.shape[1]))
        first, _ = bind_first(law)(tokens, keys, {}, train=True)
        bound = bind(params)
        grouping = bound(tokens, bound.complete(first.slots), keys, train=True)
        return jnp.vdot(grouping.slots.vectors, v["in/cotangent"]), (first.slots, grouping)

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, (first, grouping)), gradients = compute(params, tokens, law)
    assert len(first.vectors) == size
    assert_close(first.vectors, v["out/initial_mu"], 1e-5, "first means")
    assert_close(first.extras["log_scale"], v["out/initial_logsigma"], 1e-5, "first log scales")
    assert_close(grouping.slots.vectors, v["out/slots"], 1e-5, "slots")
    assert_close(grouping.diagnostics["mean"], v["out/mu_all"][:, -1], 1e-5, "means")
    assert_close(grouping.slots.extras["log_scale"], v["out/logsigma_all"][:, -1], 1e-5, "log σ")
    counts = v["out/pi_all"][:, -1, :, 0]
    assert_close(grouping.slots.extras["prior"], counts / counts.sum(1, keepdims=True), 1e-5, "π")
    want = module_params(v, gradient=True, tied=True)
    assert_close(gradients[0], want, 1e-4, "gradient of ")
    assert_close(gradients[1], v["grad/tokens"], 1e-4, "gradient of tokens")
    for name, stored_name in (("mean", "slots_mu"), ("log_scale", "slots_logsigma")):
        want = v.gradient(stored_name).ravel()
        assert_close(gradients[2][name], want, 1e-4, f"gradient of {stored_name}")
    assert not v.unused_gradients()


@pytest.mark.parametrize("path", stored("smm_self_attention_gmm*"))
def test_first_from_the_picture(path, monkeypatch):
    v = Vectors(path)
    tokens, noise = v["in/tokens"], v["in/noise"]
    depth = v.hyper("transformer_depth", 2)
    config = SlotMixtureConfig(
        num_iterations=v.hyper("n_steps_run", 4),
        prior="uniform",
        first="picture",
        transformer_depth=depth,
        transformer_heads=v.hyper("heads", 4),
        mlp_hidden=v.param("mlp_mu/0/weight").shape[0],
        epsilon=v.hyper("eps", 1e-8),
        gradient="last",
    )

    def params_of(gradient):
        own = module_params(v, gradient, tied=False)
        return own | {"first": first_params(v, depth, gradient)}

    params = params_of(False)
    size, count = noise.shape[:2]
    unread = jnp.zeros((size, count, tokens.shape[-1]))
    bind = binder(module(config, tokens.shape[-1], v["out/slots"].shape[-1]), params)
    draw_stored(monkeypatch, noise, lambda keys: jax.vmap(jax.random.split)(keys)[:, 0])
    grouping, gradients = grouping_with_gradients(
        bind, params, tokens, unread, v["in/cotangent"], train=False
    )
    assert_close(grouping.slots.vectors, v["out/slots"], 1e-5, "slots")
    assert_close(grouping.diagnostics["mean"], v["out/mu_all"][:, -1], 1e-5, "means")
    assert_close(grouping.slots.extras["log_scale"], v["out/logsigma_all"][:, -1], 1e-5, "log σ")
    rounds = grouping.diagnostics["attention_per_iteration"]
    weights = rounds / rounds.sum(-1, keepdims=True)
    assert_close(weights, v["out/attention_all"], 1e-5, "attention per round")
    assert_close(gradients[0], params_of(True), 1e-4, "gradient of ")
    assert_close(gradients[1], v["grad/tokens"], 1e-4, "gradient of tokens")
    assert not v.unused_gradients()
