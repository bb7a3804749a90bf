"""What Invariant Slot Attention must satisfy (Biza et al. 2023), property before number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.modules import ExplicitStatisticsConfig, InvariantSlotAttentionConfig
from slots.nn import rotation_matrix
from slots.types import Frames, Slots, Tokens

B, K, D, S = 2, 3, 5, 4
GRID = (4, 5)
VARIANTS = ("t", "ts", "tsr")
WIDE = {"min_scale": 1e-9, "max_scale": 1e9}  # no clipping


@pytest.fixture(autouse=True)
def double():
    """Equivariance is exact: in float64 it shows to the last digits."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # flax's norms promote
        yield


def make(variant="tsr", seed=0, scale_factor=5.0, **settings):
    config = InvariantSlotAttentionConfig(
        variant=variant, **{"mlp_hidden": 7, "grid_hidden": 6, "num_iterations": 2, **settings}
    )

    def build(rngs):
        return config.make(feature_dim=D, slot_dim=S, scale_factor=scale_factor, rngs=rngs)

    return filled(build, seed, np.float64)


def problem(seed=0, grid=GRID, slots=K):
    """Tokens on a grid, and first slots with frames inside it."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid), indexing="ij")
    places = np.stack(axes, axis=-1).reshape(-1, 2)
    features = rng.standard_normal((B, len(places), D))
    frames = Frames(
        position=jnp.asarray(rng.uniform(-0.4, 0.4, (B, slots, 2))),
        scale=jnp.asarray(rng.uniform(0.2, 0.6, (B, slots, 2))),
        rotation=rotation_matrix(jnp.asarray(rng.uniform(-0.7, 0.7, (B, slots)))),
    )
    first = Slots(vectors=jnp.asarray(rng.standard_normal((B, slots, S))), frames=frames)
    return tokens_of(features, np.broadcast_to(places, (B, *places.shape)), grid), first


def tokens_of(features, places, grid=GRID, mask=None):
    return Tokens(
        features=jnp.asarray(features), positions=jnp.asarray(places), grid=grid, mask=mask
    )


def apply(module, tokens, slots, complete=True):
    keys = jax.random.split(jax.random.key(0), len(slots.vectors))
    slots = module.complete(slots) if complete else slots
    return module(tokens, slots, keys, train=True)


run = quick_jit(apply, static_argnames="complete")


def with_frames(slots, **parts):
    return dataclasses.replace(slots, frames=dataclasses.replace(slots.frames, **parts))


def moved(tokens, places):
    return dataclasses.replace(tokens, positions=places)


def distance(one, other):
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


@pytest.mark.parametrize("variant", ["none", *VARIANTS])
def test_attention_sums_to_one_and_rounds_are_counted(variant):
    tokens, slots = problem()
    grouping = run(make(variant), tokens, slots)
    assert_allclose(grouping.attention.sum(1), np.ones((B, 20)), atol=1e-12)
    rounds = grouping.diagnostics["attention_per_iteration"]
    assert rounds.shape == (B, 2 if variant == "none" else 3, K, 20)  # T, or T + 1 for the frame
    assert_array_equal(rounds[:, -1], grouping.attention)


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_updates_only_the_frame_moves(variant):
    tokens, slots = problem()
    grouping = run(make(variant, num_iterations=0), tokens, slots)
    assert_array_equal(grouping.slots.vectors, slots.vectors)
    assert grouping.diagnostics["attention_per_iteration"].shape[1] == 1
    weights = np.asarray(grouping.attention)
    weights = weights / (weights.sum(-1, keepdims=True) + 1e-8)
    center = np.einsum("bkn,bnc->bkc", weights, tokens.positions)
    assert_allclose(grouping.slots.frames.position, center, atol=1e-12)


def test_the_last_round_reads_the_last_content():
    """T updates and T + 1 rounds: the frame of T = 1 is that of T = 0 begun from its content."""
    tokens, slots = problem()
    once = run(make(num_iterations=1), tokens, slots)
    before = run(make(num_iterations=0), tokens, slots)
    middle = dataclasses.replace(before.slots, vectors=once.slots.vectors)
    again = run(make(num_iterations=0), tokens, middle, complete=False)
    assert distance(again.attention, once.attention) < 1e-14
    for got, want in zip(*map(jax.tree.leaves, (again.slots, once.slots)), strict=True):
        assert distance(got, want) < 1e-14


@pytest.mark.parametrize("variant", ["none", *VARIANTS])
def test_slots_and_tokens_are_sets(variant):
    tokens, slots = problem()
    module = make(variant)
    plain = run(module, tokens, slots)
    order = np.array([2, 0, 1])
    turned = run(module, tokens, jax.tree.map(lambda x: x[:, order], slots))
    for got, want in zip(*map(jax.tree.leaves, (turned.slots, plain.slots)), strict=True):
        assert distance(got, want[:, order]) < 1e-13
    order = np.random.default_rng(1).permutation(20)
    shuffled = tokens_of(tokens.features[:, order], tokens.positions[:, order])
    mixed = run(module, shuffled, slots)
    for got, want in zip(*map(jax.tree.leaves, (mixed.slots, plain.slots)), strict=True):
        assert distance(got, want) < 1e-13


@pytest.mark.parametrize(("side", "scale"), [(5, 0.70711), (16, 0.61464)])
def test_a_slot_alone_owns_the_whole_grid(side, scale):
    tokens, slots = problem(grid=(side, side), slots=1)
    frames = run(make("tsr"), tokens, slots).slots.frames
    assert_allclose(frames.position, np.zeros((B, 1, 2)), atol=1e-9)
    assert_allclose(frames.scale, np.full((B, 1, 2), scale), atol=1e-5)
    exact = ((side + 1) / (3 * side - 3)) ** 0.5
    assert_allclose(frames.scale, np.full((B, 1, 2), exact), rtol=2e-6)  # ε counts every place
    assert_array_equal(frames.rotation, np.broadcast_to(np.eye(2), (B, 1, 2, 2)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_translation(variant):
    tokens, slots = problem()
    shift = np.array([0.13, -0.21])
    module = make(variant)
    plain = run(module, tokens, slots)
    there = with_frames(slots, position=slots.frames.position + shift[None, None])
    got = run(module, moved(tokens, tokens.positions + shift[None, None]), there)
    assert distance(got.slots.vectors, plain.slots.vectors) < 1e-6
    frames, want = got.slots.frames, plain.slots.frames
    assert distance(frames.position, want.position + shift[None, None]) < 1e-6
    for part in ("scale", "rotation"):
        if getattr(want, part) is not None:
            assert distance(getattr(frames, part), getattr(want, part)) < 1e-6


def scaled(variant, factor, **settings):
    tokens, slots = problem()
    frames = slots.frames
    module = make(variant, **settings)
    plain = run(module, tokens, slots)
    there = with_frames(slots, position=frames.position * factor, scale=frames.scale * factor)
    return plain, run(module, moved(tokens, tokens.positions * factor), there)


def test_scaling():
    factor = np.array([2.0, 0.5])[None, None]
    plain, got = scaled("ts", factor, **WIDE)
    assert_array_equal(got.slots.vectors, plain.slots.vectors)  # powers of two: no rounding
    assert_array_equal(got.slots.frames.position, plain.slots.frames.position * factor)
    assert_array_equal(got.slots.frames.scale, plain.slots.frames.scale * factor)


def test_scaling_holds_with_clipping_while_nothing_touches_it():
    plain, got = scaled("ts", np.array([1.3, 0.7])[None, None])
    scales = np.concatenate([plain.slots.frames.scale, got.slots.frames.scale])
    assert scales.min() > 0.001
    assert scales.max() < 2.0
    assert distance(got.slots.vectors, plain.slots.vectors) < 1e-12


def test_positions_alone_are_not_invariant_to_scale():
    plain, got = scaled("t", np.array([1.3, 0.7])[None, None])
    assert distance(got.slots.vectors, plain.slots.vectors) > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
def test_absolute_codes_are_not_invariant_to_translation(variant):
    tokens, slots = problem()
    module = make(variant, absolute=True)
    shift = np.array([0.13, -0.21])[None, None]
    plain = run(module, tokens, slots)
    there = with_frames(slots, position=slots.frames.position + shift)
    got = run(module, moved(tokens, tokens.positions + shift), there)
    assert distance(got.slots.vectors, plain.slots.vectors) > 1e-3


def angle_of(rotation):
    return np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])


def test_rotation_while_no_frame_wraps():
    """Turning the grid and the first frames turns the frames and leaves the content alone."""
    rng = np.random.default_rng(3)
    angle = np.deg2rad(7.0)
    # A long cloud of tokens: every slot's principal axis stays far from 45 degrees.
    cloud = rng.standard_normal((1, 40, 2)) * [0.08, 0.4]
    tokens = tokens_of(0.1 * rng.standard_normal((1, 40, D)), cloud, (5, 8))
    slots = Slots(
        vectors=jnp.asarray(rng.standard_normal((1, K, S))),
        frames=Frames(
            position=jnp.asarray(rng.uniform(-0.05, 0.05, (1, K, 2))),
            scale=jnp.full((1, K, 2), 0.3),
            rotation=rotation_matrix(jnp.zeros((1, K))),
        ),
    )
    matrix = np.asarray(rotation_matrix(jnp.float64(angle)))
    turn = lambda places: (places[..., ::-1] @ matrix.T)[..., ::-1]  # noqa: E731, in (x, y)
    turned = with_frames(
        slots,
        position=turn(slots.frames.position),
        rotation=rotation_matrix(jnp.full((1, K), angle)),
    )
    module = make("tsr", num_iterations=2, **WIDE)
    plain = run(module, tokens, slots)
    got = run(module, moved(tokens, turn(tokens.positions)), turned)
    found, before = (
        np.arctan2(g.slots.frames.rotation[..., 1, 0], g.slots.frames.rotation[..., 0, 0])
        for g in (got, plain)
    )
    assert np.abs(before).max() < np.deg2rad(37)  # nothing wrapped
    assert distance(got.slots.vectors, plain.slots.vectors) < 1e-9
    assert distance(found, before + angle) < 1e-9
    assert distance(got.slots.frames.scale, plain.slots.frames.scale) < 1e-9
    assert distance(got.slots.frames.position, turn(plain.slots.frames.position)) < 1e-9


def test_the_scale_factor_only_rescales_the_projection():
    tokens, slots = problem()
    one, other = make("tsr", scale_factor=5.0), make("tsr", scale_factor=1.0)
    kernel = other.grid_encoder.projection.kernel
    kernel[...] = kernel[...] / 5
    one, other = run(one, tokens, slots), run(other, tokens, slots)
    for got, want in zip(*map(jax.tree.leaves, (other.slots, one.slots)), strict=True):
        assert distance(got, want) < 1e-12


def test_special_frames_make_the_variants_equal():
    tokens, slots = problem()
    slots = with_frames(
        slots,
        scale=jnp.ones((B, K, 2)),
        rotation=jnp.broadcast_to(jnp.eye(2), (B, K, 2, 2)),
    )
    first = {v: run(make(v, num_iterations=0, scale_factor=1.0), tokens, slots) for v in VARIANTS}
    assert_array_equal(first["tsr"].attention, first["ts"].attention)
    assert_array_equal(first["ts"].attention, first["t"].attention)
    middle = with_frames(slots, position=jnp.zeros((B, K, 2)))
    relative = run(make("t", num_iterations=0), tokens, middle)
    absolute = run(make("t", num_iterations=0, absolute=True), tokens, middle)
    assert_allclose(relative.attention, absolute.attention, atol=1e-14)


def test_frames_are_what_the_variant_carries():
    _, slots = problem()
    for variant, parts in (("t", 1), ("ts", 2), ("tsr", 3)):
        assert len(jax.tree.leaves(make(variant).complete(slots).frames)) == parts
    assert make("none").complete(slots).frames is None
    bare = make("tsr").complete(Slots(vectors=slots.vectors)).frames
    assert_array_equal(bare.position, np.zeros((B, K, 2)))
    assert_array_equal(bare.scale, np.full((B, K, 2), 0.1))
    assert_array_equal(bare.rotation, np.broadcast_to(np.eye(2), (B, K, 2, 2)))


def test_first_frames_are_clipped_or_overridden():
    _, slots = problem()
    far = with_frames(
        slots,
        position=jnp.full((B, K, 2), -3.0),
        scale=jnp.full((B, K, 2), -1.0).at[:, :, 1].set(9.0),
    )
    frames = make("ts").complete(far).frames
    assert_array_equal(frames.position, np.full((B, K, 2), -1.0))
    assert_array_equal(frames.scale, np.tile([0.001, 2.0], (B, K, 1)))
    frames = make("ts", zero_position_init=True, init_with_fixed_scale=0.3).complete(far).frames
    assert_array_equal(frames.position, np.zeros((B, K, 2)))
    assert_array_equal(frames.scale, np.full((B, K, 2), 0.3))
    smallest = make("ts", init_with_fixed_scale=0.0).complete(far).frames
    assert_array_equal(smallest.scale, np.full((B, K, 2), 0.001))


def gradients_of(module, tokens, slots):
    graphdef, state = nnx.split(module, nnx.Param)

    def loss(params, tokens, slots):
        grouping = apply(nnx.merge(graphdef, params), tokens, slots)
        leaves = jax.tree.leaves(grouping.slots)
        return sum(jnp.sum(jnp.cos(7.0 * leaf)) for leaf in leaves)

    compute = quick_jit(jax.grad(loss, argnums=(0, 1, 2), allow_int=True))
    return compute(state, tokens, slots)


@pytest.mark.parametrize("case", ["covariance", "aligned", "round", "pixel", "clipped", "starved"])
def test_gradients_are_finite(case):
    """Where roots, atan2 and clips are at their edges."""
    tokens, slots = problem(slots=2)
    settings = {}
    if case == "covariance":  # all tokens in one place
        tokens = moved(tokens, jnp.zeros_like(tokens.positions))
    elif case == "aligned":  # on a line: c_xy = 0
        tokens = moved(tokens, tokens.positions.at[..., 0].set(0.0))
    elif case == "round":  # one slot on a square grid: c_xx = c_yy, c_xy = 0
        tokens, slots = problem(grid=(5, 5), slots=1)
    elif case == "pixel":  # attention so sharp that each slot has hardly more than one token
        settings = {"temperature": 1e-4}
    elif case == "clipped":
        slots = with_frames(slots, scale=jnp.full((B, 2, 2), 0.001).at[:, 1].set(2.0))
    else:  # a slot that gets nothing
        slots = dataclasses.replace(slots, active=jnp.array([[True, False]] * B))
    for leaf in jax.tree.leaves(gradients_of(make("tsr", **settings), tokens, slots)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(leaf).all()


def test_a_slot_without_attention_gets_no_content_and_a_small_frame_in_the_middle():
    tokens, slots = problem(grid=(16, 16), slots=2)
    slots = dataclasses.replace(slots, active=jnp.array([[True, False]] * B))
    frames = run(make("ts", num_iterations=0, min_scale=1e-9), tokens, slots).slots.frames
    assert_array_equal(frames.position[:, 1], np.zeros((B, 2)))
    floor = np.sqrt(1e-8 * np.square(np.asarray(tokens.positions[0])).sum(0))
    assert_allclose(frames.scale[:, 1], np.tile(floor, (B, 1)), rtol=1e-9)
    assert_allclose(floor, [9.8e-4, 9.8e-4], rtol=0.01)


def test_masked_tokens_are_not_there():
    tokens, slots = problem()
    keep = np.ones((B, 20), bool)
    keep[:, [3, 11, 19]] = False
    module = make("tsr")
    masked = run(module, dataclasses.replace(tokens, mask=jnp.asarray(keep)), slots)
    left = np.flatnonzero(keep[0])
    fewer = run(
        module, tokens_of(tokens.features[:, left], tokens.positions[:, left], (1, 17)), slots
    )
    for got, want in zip(*map(jax.tree.leaves, (masked.slots, fewer.slots)), strict=True):
        assert distance(got, want) < 1e-7  # the scale's ε counts every place


def test_inactive_slots_change_nothing_for_the_others():
    tokens, slots = problem()
    module = make("tsr")
    active = jnp.array([[True, True, False]] * B)
    some = run(module, tokens, dataclasses.replace(slots, active=active))
    alone = run(module, tokens, jax.tree.map(lambda x: x[:, :2], slots))
    assert_array_equal(some.attention[:, 2], np.zeros((B, 20)))
    for got, want in zip(
        *map(jax.tree.leaves, (some.slots.vectors, alone.slots.vectors)), strict=True
    ):
        assert distance(got[:, :2], want) < 1e-12


def test_a_grid_in_the_features():
    tokens, slots = problem()
    joined = jnp.concatenate([tokens.features, tokens.positions], axis=-1)
    elsewhere = tokens_of(joined, jnp.full_like(tokens.positions, 0.5))
    config = InvariantSlotAttentionConfig(
        grid_in_features=True, mlp_hidden=7, grid_hidden=6, num_iterations=2
    )
    module = filled(
        lambda rngs: config.make(feature_dim=D + 2, slot_dim=S, scale_factor=5.0, rngs=rngs),
        dtype=np.float64,
    )
    got = run(module, elsewhere, slots)
    want = run(make("ts"), tokens, slots)
    assert distance(got.slots.vectors, want.slots.vectors) < 1e-12


def test_values_may_be_plain():
    """Then what a slot reads is the plain mean of the values, without position or perceptron."""
    tokens, slots = problem()
    module = make("t", num_iterations=1, position_in_values=False, mlp_hidden=0)
    module.gru = lambda state, inputs: inputs
    grouping = apply(module, tokens, slots)
    attention = np.asarray(grouping.diagnostics["attention_per_iteration"][:, 0])
    weights = attention / (attention.sum(-1, keepdims=True) + 1e-8)
    values = module.value(module.norm_inputs(tokens.features))
    want = np.einsum("bkn,bnd->bkd", weights, values)
    assert_allclose(grouping.slots.vectors, want, atol=1e-12)


def test_mixing_reads_slots_and_frames_from_one_perceptron():
    tokens, slots = problem()
    module = make("tsr", mix_slots=True)
    plain = make("tsr")
    nnx.update(
        plain,
        nnx.state(
            {
                k: getattr(module, k)
                for k in (
                    "norm_inputs",
                    "norm_slots",
                    "norm_mlp",
                    "query",
                    "key",
                    "value",
                    "grid_encoder",
                    "gru",
                    "mlp",
                )
            }
        ),
    )
    before, after = run(plain, tokens, slots).slots, run(module, tokens, slots).slots
    leaves = [before.vectors, *jax.tree.leaves(before.frames)]
    joined = jnp.concatenate([x.reshape(B, K, -1) for x in leaves], axis=-1)
    assert joined.shape[-1] == S + 8
    mixed = module.mix(module.norm_mix(joined))
    assert_allclose(after.vectors, mixed[..., :S], atol=1e-12)
    assert_allclose(after.frames.position, mixed[..., S : S + 2], atol=1e-12)
    assert_allclose(after.frames.scale, mixed[..., S + 2 : S + 4], atol=1e-12)
    assert_allclose(after.frames.rotation, mixed[..., S + 4 :].reshape(B, K, 2, 2), atol=1e-12)


@pytest.mark.parametrize("gradient", ["full", "last", "bilevel"])
def test_gradient_cuts_leave_the_values_alone(gradient):
    tokens, slots = problem()
    want = run(make("tsr"), tokens, slots)
    got = run(make("tsr", gradient=gradient), tokens, slots)
    for one, other in zip(*map(jax.tree.leaves, (got.slots, want.slots)), strict=True):
        assert distance(one, other) < 1e-14
    _, _, first = gradients_of(make("tsr", gradient=gradient), tokens, slots)
    reached = [np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(first)]
    assert all(reached) if gradient != "last" else not any(reached)


def test_bilevel_takes_the_gradient_of_the_last_update():
    """It equals that of one update begun from where the last one begins."""
    tokens, slots = problem()
    module = make("tsr", num_iterations=2, gradient="bilevel")
    # One update, and the frames of the round it began with: the state before the last update.
    middle = run(make("tsr", num_iterations=1), tokens, slots).slots
    early = run(make("tsr", num_iterations=0), tokens, slots).slots
    middle = dataclasses.replace(middle, frames=early.frames)

    last = make("tsr", num_iterations=1)
    got, want = gradients_of(module, tokens, slots), gradients_of(last, tokens, middle)
    for one, other in zip(*map(jax.tree.leaves, (got[0], want[0])), strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-11)


def test_stopped_parts_carry_no_gradient():
    tokens, slots = problem()
    module = make("tsr", num_iterations=0, stop_gradient=("position", "scale", "rotation"))
    params, of_tokens, _ = gradients_of(module, tokens, slots)
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(params))
    assert np.abs(of_tokens.features).max() == 0
    module = make("tsr", num_iterations=0, stop_gradient=("scale",))
    params, _, _ = gradients_of(module, tokens, slots)
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"min_scale": 0.0}, "min_scale=0.0"),
        ({"min_scale": 3.0}, "min_scale=3.0"),
        ({"variant": "ts", "stop_gradient": ("rotation",)}, "'rotation'"),
        ({"variant": "none", "mix_slots": True}, "need frames"),
        ({"num_iterations": -1}, "num_iterations=-1"),
    ],
)
def test_settings_that_do_not_work(settings, words):
    with pytest.raises(ConfigError, match=words):
        InvariantSlotAttentionConfig(**settings)


def explicit(**settings):
    config = ExplicitStatisticsConfig(**{"mlp_hidden": 7, "grid_hidden": 6, **settings})
    return filled(
        lambda rngs: config.make(feature_dim=D, slot_dim=S, scale_factor=5.0, rngs=rngs),
        dtype=np.float64,
    )


def test_explicit_statistics_come_from_the_last_round():
    tokens, slots = problem()
    grouping = run(explicit(), tokens, slots)
    assert grouping.diagnostics["attention_per_iteration"].shape[1] == 3  # T rounds
    weights = np.asarray(grouping.attention)
    weights = weights / (weights.sum(-1, keepdims=True) + 1e-8)
    center = np.einsum("bkn,bnc->bkc", weights, tokens.positions)
    offsets = np.asarray(tokens.positions)[:, None] - center[:, :, None]
    scale = np.sqrt(np.einsum("bkn,bknc->bkc", weights + 1e-8, offsets**2))
    frames = grouping.slots.frames
    assert_allclose(frames.position, center, atol=1e-12)
    assert_allclose(frames.scale, scale.clip(0.01, 5.0), atol=1e-12)
    assert frames.rotation is None
    without = run(explicit(), tokens, dataclasses.replace(slots, frames=None))
    assert_array_equal(without.slots.vectors, grouping.slots.vectors)
    with pytest.raises(ConfigError, match="min_scale=6"):
        ExplicitStatisticsConfig(min_scale=6.0)
