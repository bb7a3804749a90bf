"""Slot Attention against stored answers of three published implementations."""

import jax.numpy as jnp
import pytest
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

from modules.parity import grouping_with_gradients, module
from slots.modules import SlotAttentionConfig

pytestmark = pytest.mark.parity


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
