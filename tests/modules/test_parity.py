"""Slot Attention against stored answers of three published implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import quick_jit
from contracts.vectors import (
    Vectors,
    assert_close,
    binder,
    flax_gru,
    flax_linear,
    flax_norm,
    stored,
    torch_gru,
    torch_linear,
    torch_norm,
)

from slots.encoders import TokenHead, TokenHeadConfig
from slots.initializers import GaussianConfig
from slots.modules import SlotAttentionConfig
from slots.nn import grid_positions
from slots.types import Slots, Tokens

pytestmark = pytest.mark.parity

ALONE = (1, 0)  # a grid that is never read


def module(config, feature_dim, slot_dim):
    def make(rngs):
        return config.make(feature_dim=feature_dim, slot_dim=slot_dim, scale_factor=1.0, rngs=rngs)

    return make


def grouping_with_gradients(bind, params, tokens, first, cotangent):
    """The grouping, and gradients of sum(slots · cotangent) to weights, tokens and first slots."""

    def loss(params, tokens, first):
        places = jnp.zeros((*tokens.shape[:2], 2))
        keys = jax.random.split(jax.random.key(0), len(tokens))
        tokens = Tokens(features=tokens, positions=places, grid=ALONE)
        grouping = bind(params)(tokens, Slots(vectors=first), keys, train=True)
        return jnp.vdot(grouping.slots.vectors, cotangent), grouping

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, grouping), gradients = compute(params, tokens, first)
    return grouping, gradients


def savi_params(read, has):
    def flat(name):  # heads and head width are neighbours: [in,heads,width] to [in,heads · width]
        kernel = read(f"{name}/kernel")
        return {"kernel": kernel.reshape(len(kernel), -1)}

    params = {
        "norm_inputs": flax_norm(read, "LayerNorm_1"),
        "norm_slots": flax_norm(read, "LayerNorm_0"),
        "query": flat("general_dense_q_0"),
        "key": flat("general_dense_k_0"),
        "value": flat("general_dense_v_0"),
        "gru": flax_gru(read, "GRU_0/GRUCell_0"),
    }
    merge = "InvertedDotProductAttention_0/DenseGeneral_0"
    if has(f"{merge}/kernel"):
        kernel = read(f"{merge}/kernel")
        kernel = kernel.reshape(-1, kernel.shape[-1])
        params["merge"] = {"kernel": kernel, "bias": read(f"{merge}/bias")}
    if has("MLP_0/dense_mlp_0/kernel"):
        params["norm_mlp"] = flax_norm(read, "MLP_0/LayerNorm_0")
        params["mlp"] = {
            "first": flax_linear(read, "MLP_0/dense_mlp_0"),
            "second": flax_linear(read, "MLP_0/dense_mlp_1"),
        }
    return params


@pytest.mark.parametrize("path", stored("savi_slot_attention_*"))
def test_savi(path):
    v = Vectors(path)
    tokens, first = v["in/tokens"], v["in/initial_slots"]
    _, heads, head_width = v.param("general_dense_q_0/kernel").shape
    assert heads == v.hyper("num_heads", 1)
    assert heads * head_width == v.hyper("qkv_size", heads * head_width)
    mlp = v.has("MLP_0/dense_mlp_0/kernel")
    config = SlotAttentionConfig(
        num_iterations=v.hyper("num_iterations", 1),
        attention_dim=heads * head_width,
        num_heads=heads,
        mlp_hidden=v.param("MLP_0/dense_mlp_0/kernel").shape[1] if mlp else 0,
        epsilon=v.hyper("epsilon", 1e-8),
        epsilon_on="sum",
        layer_norm_epsilon=v.hyper("layernorm_epsilon", 1e-6),
    )
    params = savi_params(v.param, v.has)
    bind = binder(module(config, tokens.shape[-1], first.shape[-1]), params)
    grouping, gradients = grouping_with_gradients(bind, params, tokens, first, v["in/cotangent"])

    assert_close(grouping.slots.vectors, v["out/slots"], 1e-5, "slots")
    assert_close(grouping.attention, v["out/attention_softmax"].mean(1), 1e-5, "attention")
    if "out/attention_softmax_all" in v:
        rounds = grouping.diagnostics["attention_per_iteration"]
        assert_close(rounds, v["out/attention_softmax_all"].mean(2), 1e-5, "attention per round")
    assert_close(gradients[0], savi_params(v.gradient, v.has), 1e-4, "gradient of ")
    assert_close(gradients[1], v["grad/tokens"], 1e-4, "gradient of tokens")
    assert_close(gradients[2], v["grad/initial_slots"], 1e-4, "gradient of first slots")
    assert not v.unused_gradients()


def mesh_params(v, gradient=False):
    read = v.gradient if gradient else v.param
    bias = v.has("project_q/bias")
    return {
        "norm_inputs": torch_norm(read, "norm_inputs"),
        "norm_slots": torch_norm(read, "norm_slots"),
        "norm_mlp": torch_norm(read, "norm_mlp"),
        "query": torch_linear(read, "project_q", bias),
        "key": torch_linear(read, "project_k", bias),
        "value": torch_linear(read, "project_v", bias),
        "gru": torch_gru(v, "gru", gradient),
        "mlp": {"first": torch_linear(read, "mlp/0"), "second": torch_linear(read, "mlp/2")},
    }


@pytest.mark.parametrize("path", stored("mesh_slot_attention_original*"))
def test_mesh_code_without_transport(path):
    v = Vectors(path)
    distance = v.hyper("pairwise_distance", "dot_prod")
    if distance != "dot_prod":
        pytest.skip(f"Slot Attention has no pairwise_distance={distance}")
    tokens, first = v["in/tokens"], v["in/initial_slots"]
    epsilon = v.hyper("epsilon", 1e-8)
    config = SlotAttentionConfig(
        num_iterations=v.hyper("n_sa_iters", 3),
        attention_dim=v.param("project_q/weight").shape[0],
        mlp_hidden=v.param("mlp/0/weight").shape[0],
        use_bias=v.has("project_q/bias"),
        temperature=1 / v.hyper("scale_cost", 1.0),
        epsilon=epsilon,
        layer_norm_epsilon=v.hyper("layernorm_epsilon", 1e-5),
    )
    params = mesh_params(v)
    bind = binder(module(config, tokens.shape[-1], first.shape[-1]), params)
    grouping, gradients = grouping_with_gradients(bind, params, tokens, first, v["in/cotangent"])

    def normalised(attention):  # stored after the second normalisation, as [...,N,K]
        weights = attention + epsilon
        return jnp.swapaxes(weights / weights.sum(-1, keepdims=True), -1, -2)

    assert_close(grouping.slots.vectors, v["out/slots"], 1e-5, "slots")
    assert_close(normalised(grouping.attention), v["out/attention"], 1e-5, "attention")
    rounds = normalised(grouping.diagnostics["attention_per_iteration"])
    assert_close(rounds, v["out/attention_all"], 1e-5, "attention per round")
    assert_close(gradients[0], mesh_params(v, gradient=True), 1e-4, "gradient of ")
    assert_close(gradients[1], v["grad/tokens"], 1e-4, "gradient of tokens")
    assert_close(gradients[2], v["grad/initial_slots"], 1e-4, "gradient of first slots")
    assert not v.unused_gradients()


def cosa_params(v, gradient=False):
    read = v.gradient if gradient else v.param
    position = torch_linear(read, "encoder_position/embedding")
    attention = {
        "norm_inputs": torch_norm(read, "norm_input"),
        "norm_slots": torch_norm(read, "norm_slots"),
        "norm_mlp": torch_norm(read, "norm_pre_ff"),
        "query": torch_linear(read, "to_q"),
        "key": torch_linear(read, "to_k"),
        "value": torch_linear(read, "to_v"),
        "gru": torch_gru(v, "gru", gradient),
        "mlp": {
            "first": torch_linear(read, "slot_transformation/0"),
            "second": torch_linear(read, "slot_transformation/2"),
        },
    }
    head = {
        "position": {"projection": position},
        "norm": torch_norm(read, "encoder_norm"),
        "mlp": {
            "first": torch_linear(read, "encoder_feature_mlp/0"),
            "second": torch_linear(read, "encoder_feature_mlp/2"),
        },
    }
    width = v.param("slots_mu").shape[-1]
    initializer = {
        "mean": read("slots_mu").reshape(-1, width),
        # sigma = exp(stored / 2); a gradient of the stored value is half of that of its half
        "log_scale": read("slots_sigma").reshape(-1, width) * (2 if gradient else 0.5),
    }
    return {"head": head, "initializer": initializer, "module": attention}


@pytest.mark.parametrize("path", stored("cosa_slot_attention_baseline*"))
def test_cosa_base_line(path, monkeypatch):
    v = Vectors(path)
    features, noise = v["in/features"], v["in/noise"]
    size, channels, *grid = features.shape
    num_slots, slot_dim = noise.shape[1:]
    layer_norm_epsilon = v.hyper("layernorm_epsilon", 1e-5)
    head = TokenHeadConfig(
        position="linear",
        norm="all",
        hidden=v.param("encoder_feature_mlp/0/weight").shape[0],
        features=v.param("encoder_feature_mlp/2/weight").shape[0],
        final_relu=True,
        layer_norm_epsilon=layer_norm_epsilon,
    )
    config = SlotAttentionConfig(
        num_iterations=v.hyper("steps_run", v.hyper("iters", 2) + 1),
        attention_dim=v.param("to_q/weight").shape[0],
        mlp_hidden=v.param("slot_transformation/0/weight").shape[0],
        mlp_final_relu=True,
        use_bias=True,
        epsilon=v.hyper("eps", 1e-8),
        layer_norm_epsilon=layer_norm_epsilon,
        gradient="last",
    )
    params = cosa_params(v)
    token_dim = head.features

    def make_gaussian(rngs):
        return GaussianConfig(shared=len(params["initializer"]["mean"]) == 1).make(
            num_slots=num_slots, slot_dim=slot_dim, feature_dim=token_dim, rngs=rngs
        )

    bind_head = binder(
        lambda rngs: TokenHead(head, channels, tuple(grid), rngs=rngs), params["head"]
    )
    bind_gaussian = binder(make_gaussian, params["initializer"])
    bind_module = binder(module(config, token_dim, slot_dim), params["module"])
    keys = jax.random.split(jax.random.key(0), size)
    data = jax.random.key_data(keys)

    def stored_noise(key, shape):  # the reference's draw in place of ours, found by the key
        chosen = (data == jax.random.key_data(key)[None]).all(axis=-1)
        return jnp.einsum("b,bks->ks", chosen.astype(jnp.float32), noise)

    monkeypatch.setattr(jax.random, "normal", stored_noise)

    def loss(params, features):
        flat = jnp.moveaxis(features, 1, -1).reshape(size, -1, channels)
        tokens = bind_head(params["head"])(flat, grid_positions(*grid))
        first, _ = bind_gaussian(params["initializer"])(tokens, keys, {}, train=True)
        grouping = bind_module(params["module"])(tokens, first, keys, train=True)
        vectors = grouping.slots.vectors
        return jnp.vdot(vectors, v["in/cotangent"].reshape(vectors.shape)), (first, vectors)

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (first, vectors)), gradients = compute(params, features)
    sigma = np.exp(0.5 * v.param("slots_sigma").reshape(-1, slot_dim))
    wanted = v.param("slots_mu").reshape(-1, slot_dim)[None] + sigma[None] * noise
    assert_close(first.vectors, wanted, 1e-5, "first slots")
    assert_close(vectors, v["out/slots"].reshape(vectors.shape), 1e-4, "slots")
    assert_close(gradients[0], cosa_params(v, gradient=True), 1e-3, "gradient of ")
    assert_close(gradients[1], v["grad/features"], 1e-3, "gradient of features")
    assert not v.unused_gradients()
