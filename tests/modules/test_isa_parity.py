"""Invariant Slot Attention and its ablation against stored answers of the released code."""

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
)

from slots.modules import ExplicitStatisticsConfig, InvariantSlotAttentionConfig
from slots.nn import (
    PositionEmbedding,
    principal_angle,
    rotate_into,
    rotation_matrix,
    slot_positions,
)
from slots.types import Frames, Slots, Tokens

pytestmark = pytest.mark.parity


def flat(read, name):  # [in,heads,width] or [in,width] to [in,out]
    kernel = read(f"{name}/kernel")
    return {"kernel": kernel.reshape(len(kernel), -1)}


def mlp(read, name):
    return {
        "first": flax_linear(read, f"{name}/dense_mlp_0"),
        "second": flax_linear(read, f"{name}/dense_mlp_1"),
    }


def rounds(read, tokens, slots):
    """Weights that every variant has; which layer norm is whose differs."""
    return {
        "norm_inputs": flax_norm(read, tokens),
        "norm_slots": flax_norm(read, slots),
        "norm_mlp": flax_norm(read, "MLP_1/LayerNorm_0"),
        "query": flat(read, "general_dense_q_0"),
        "key": flat(read, "general_dense_k_0"),
        "value": flat(read, "general_dense_v_0"),
        "gru": flax_gru(read, "GRU_0/GRUCell_0"),
        "mlp": mlp(read, "MLP_1"),
    }


def grid_encoder(read, projection):
    return {
        "projection": flax_linear(read, projection),
        "norm": flax_norm(read, "MLP_0/LayerNorm_0"),
        "mlp": mlp(read, "MLP_0"),
    }


def isa_params(read, has):
    params = rounds(read, "LayerNorm_0", "LayerNorm_1")
    params["grid_encoder"] = grid_encoder(read, "dense_gp_0")
    if has("dense_embed_0/kernel"):
        params["statistics"] = flax_linear(read, "dense_embed_0")
    return params


def explicit_params(read, has):
    del has
    return {
        "grid_encoder": grid_encoder(read, "dense_pe_0"),
        "attention": rounds(read, "LayerNorm_1", "LayerNorm_0"),
    }


def unpack(state, variant):
    """[content | position | scale | rotation] to slots."""
    state = jnp.asarray(state)
    sizes = {"position": 2, "scale": 2, "rotation": 4}
    parts = list(sizes)[: len(variant)]
    width = state.shape[-1] - sum(sizes[part] for part in parts)
    found, start = {}, width
    for part in parts:
        value = state[..., start : start + sizes[part]]
        found[part] = value.reshape(*value.shape[:2], 2, 2) if part == "rotation" else value
        start += sizes[part]
    return Slots(vectors=state[..., :width], frames=Frames(**found))


def pack(slots):
    leaves = [slots.vectors, *jax.tree.leaves(slots.frames)]
    return jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in leaves], axis=-1)


def check(v, config, params_of, variant, scale_factor, tolerances):
    inputs, first = v["in/inputs"], v["in/initial_slots"]
    feature_dim, slot_dim = inputs.shape[-1] - 2, unpack(first, variant).vectors.shape[-1]
    params = params_of(v.param, v.has)

    def make(rngs):
        return config.make(
            feature_dim=feature_dim, slot_dim=slot_dim, scale_factor=scale_factor, rngs=rngs
        )

    bind = binder(make, params)

    def loss(params, inputs, first):
        module = bind(params)
        tokens = Tokens(
            features=inputs[..., :-2], positions=inputs[..., -2:], grid=v.hyper("grid_hw", None)
        )
        keys = jax.random.split(jax.random.key(0), len(inputs))
        slots = module.complete(unpack(first, variant))
        grouping = module(tokens, slots, keys, train=True)
        return jnp.vdot(pack(grouping.slots), v["in/cotangent"]), grouping

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, grouping), gradients = compute(params, inputs, first)
    of_outputs, of_gradients = tolerances
    assert_close(pack(grouping.slots), v["out/state"], of_outputs, "state")
    assert_close(grouping.slots.vectors, v["out/slots"], of_outputs, "slots")
    assert_close(grouping.slots.frames.position, v["out/positions"], of_outputs, "positions")
    for name in ("scale", "rotation"):
        stem = {"scale": "out/scales", "rotation": "out/rotation"}[name]
        if stem in v:
            found = getattr(grouping.slots.frames, name)
            assert_close(found, v[stem], of_outputs, name)
    assert_close(grouping.attention, v["out/attention_softmax"], of_outputs, "attention")
    each = grouping.diagnostics["attention_per_iteration"]
    assert_close(each, v["out/attention_softmax_all"], of_outputs, "attention per round")
    wanted = params_of(v.gradient, v.has)
    assert_close(gradients[0], wanted, of_gradients, "gradient of ")
    assert_close(gradients[1], v["grad/inputs"], of_gradients, "gradient of tokens")
    assert_close(gradients[2], v["grad/initial_slots"], of_gradients, "gradient of first slots")
    assert not v.unused_gradients()


def common(v):
    """Settings of every variant."""
    return {
        "num_iterations": v.hyper("num_iterations", 1),
        "mlp_hidden": v.hyper("mlp_size", 128),
        "grid_hidden": v.hyper("grid_encoder_hidden", 128),
        "temperature": v.hyper("softmax_temperature", 1.0),
        "epsilon": v.hyper("epsilon", 1e-8),
        "layer_norm_epsilon": v.hyper("layernorm_epsilon", 1e-6),
    }


@pytest.mark.parametrize("path", stored("isa_t*"))
def test_modules(path):
    v = Vectors(path)
    variant = path.stem.split("_")[1]
    stopped = ()
    if v.hyper("stop_grad_positions_and_scales", 0):
        stopped = ("position", "scale")
    singly = {"position": "positions", "scale": "scales", "rotation": "rotations"}
    stopped += tuple(p for p, name in singly.items() if v.hyper(f"stop_grad_{name}", 0))
    fixed = v.hyper("init_with_fixed_scale", None)
    config = InvariantSlotAttentionConfig(
        variant=variant,
        **common(v),
        position_in_values=bool(v.hyper("add_rel_pos_to_values", 0)),
        zero_position_init=bool(v.hyper("zero_position_init", 1)),
        init_with_fixed_scale=fixed,
        min_scale=v.hyper("min_scale", 0.001),
        max_scale=v.hyper("max_scale", 2.0),
        rotation_limit=45 if v.hyper("limit_rot_to_45_deg", 1) else 90,
        stop_gradient=stopped,
        append_statistics=bool(v.hyper("append_statistics", 0)),
    )
    tolerances = (1e-4, 1e-3) if variant == "tsr" else (1e-5, 1e-4)
    check(v, config, isa_params, variant, v.hyper("scales_factor", 1.0), tolerances)


@pytest.mark.parametrize("path", stored("isa_explicit_stats*"))
def test_explicit_statistics(path):
    v = Vectors(path)
    config = ExplicitStatisticsConfig(
        **common(v),
        min_scale=v.hyper("min_scale", 0.01),
        max_scale=v.hyper("max_scale", 5.0),
    )
    check(v, config, explicit_params, "ts", 1.0, (1e-5, 1e-4))


@pytest.mark.parametrize("path", stored("isa_rotation_matrix*"))
@pytest.mark.parametrize("limit", [45, 90])
def test_reference_frame(path, limit):
    v = Vectors(path)
    grid, attention = jnp.asarray(v["in/grid"])[None, None], jnp.asarray(v["in/attention"])
    offsets = grid - v["out/positions"][:, :, None]
    rotation = rotation_matrix(principal_angle(offsets, attention, limit))
    assert_close(rotation, v[f"out/rotation_{limit}"], 1e-4, "rotation")
    turned = rotate_into(offsets, jnp.asarray(v[f"out/rotation_{limit}"]))
    assert_close(turned, v[f"out/rotated_grid_{limit}"], 1e-6, "turned grid")


@pytest.mark.parametrize("path", stored("isa_relative_position_embedding_*"))
def test_decoder_embedding(path):
    v = Vectors(path)
    variant = path.stem.split("_")[-1]
    features, positions = v["in/features"], v["in/positions"]
    count, *grid, width = features.shape
    parts = {"position": positions}
    if "s" in variant:
        parts["scale"] = v["in/scales"]
    if "r" in variant:
        parts["rotation"] = v["in/rotation"]
    slots = Slots(
        vectors=jnp.zeros((1, count, width)),
        frames=Frames(**{name: jnp.asarray(value)[None] for name, value in parts.items()}),
    )
    params = {"projection": flax_linear(v.param, "dense_pe_0")}
    bind = binder(lambda rngs: PositionEmbedding(width, "coordinates", rngs=rngs), params)
    places = jnp.asarray(v.param("pos_embedding")).reshape(-1, 2)
    code = bind(params)(slot_positions(places, slots, v.hyper("scales_factor", 1.0)))[0]
    got = features + np.asarray(code).reshape(count, *grid, width)
    assert_close(got, v["out/features"], 1e-5, "features")
