"""Frames: places seen from them, and what weights make of them (Biza et al. 2023, section 3)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from slots.nn import (
    estimate_frames,
    grid_positions,
    principal_angle,
    relative_positions,
    rotate_into,
    rotation_matrix,
    slot_positions,
)
from slots.types import Frames, Slots

GRID = jnp.array([[0.5, -1.0], [0.0, 0.0]])


def seen(scale_factor=1.0, **frames):
    """The two places of `GRID` seen by one slot."""
    frames = {name: jnp.array([[value]]) for name, value in frames.items()}
    slots = Slots(vectors=jnp.zeros((1, 1, 3)), frames=Frames(**frames))
    return slot_positions(GRID, slots, scale_factor)[0, 0]


def test_position_is_subtracted():
    assert_allclose(seen(position=[0.25, 0.5]), [[0.25, -1.5], [-0.25, -0.5]])
    # the factor belongs to the scale: a frame without one leaves distances alone
    assert_allclose(seen(5.0, position=[0.25, 0.5]), [[0.25, -1.5], [-0.25, -0.5]])


def test_scale_divides_per_axis():
    assert_allclose(seen(scale=[0.5, 0.25]), [[1.0, -4.0], [0.0, 0.0]])
    assert_allclose(seen(5.0, scale=[0.5, 0.25]), [[0.2, -0.8], [0.0, 0.0]], atol=1e-6)


def test_rotation_projects_on_the_frames_axes():
    # Columns are the frame's axes in (x, y): the first points along +y, the second along -x.
    quarter = [[0.0, -1.0], [1.0, 0.0]]
    # (y, x) = (0.5, -1) lies 0.5 along the first axis and 1 along the second: (y', x') = (1, 0.5).
    assert_allclose(seen(rotation=quarter), [[1.0, 0.5], [0.0, 0.0]], atol=1e-6)


def test_order_is_position_rotation_scale():
    quarter = [[0.0, -1.0], [1.0, 0.0]]
    got = seen(2.0, position=[0.25, 0.5], rotation=quarter, scale=[0.5, 0.25])
    # (0.25, -1.5) turns to (1.5, 0.25); divided by 2 and by (0.5, 0.25)
    assert_allclose(got, [[1.5, 0.5], [0.5, -0.5]], atol=1e-6)


def test_inverse_of_placing_points():
    """Points written in a slot's frame and carried to the picture come back."""
    rng = np.random.default_rng(0)
    angle, scale, place = 0.7, np.array([0.3, 0.6]), np.array([0.2, -0.4])
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    own = rng.uniform(-1, 1, (6, 2))  # (y, x) in the frame
    world = ((own * scale)[:, ::-1] @ axes.T)[:, ::-1] + place
    frames = Frames(
        position=jnp.float32(place[None, None]),
        scale=jnp.float32(scale[None, None]),
        rotation=jnp.float32(axes[None, None]),
    )
    slots = Slots(vectors=jnp.zeros((1, 1, 3)), frames=frames)
    assert_allclose(slot_positions(jnp.float32(world), slots, 1.0)[0, 0], own, atol=1e-6)


def test_each_slot_has_its_own_grid():
    position = jnp.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    slots = Slots(vectors=jnp.zeros((2, 2, 3)), frames=Frames(position=position))
    got = slot_positions(GRID, slots, 1.0)
    assert_array_equal(got, GRID[None, None] - position[:, :, None])


@pytest.mark.parametrize("frames", [None, Frames()])
def test_absent_frames_share_one_grid(frames):
    slots = Slots(vectors=jnp.zeros((4, 3, 5)), frames=frames)
    got = slot_positions(GRID, slots, 5.0)
    assert got.shape == (1, 1, 2, 2)
    assert_array_equal(got[0, 0], GRID)


def angle_of(rotation):
    rotation = np.asarray(rotation)
    return np.rad2deg(np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0]))


def estimated(grid, weights, limit=45, **settings):
    """Frames of one slot from weights [n] over places [n,2]; the weights are made to sum to 1."""
    weights = np.asarray(weights, np.float32)
    weights = jnp.asarray(weights / (weights.sum() + 1e-8))[None, None]
    options = {"epsilon": 1e-8, "scales": (0.001, 2.0), "limit": limit, **settings}
    parts = ("position", "scale", "rotation")
    frames = estimate_frames(jnp.asarray(grid)[None], weights, parts, **options)
    return jax.tree.map(lambda x: np.asarray(x[0, 0]), frames)


def bar(grid, *places):
    """Weight 1 at the given (y, x)."""
    return [any(np.allclose(p, q) for q in places) for p in np.asarray(grid)]


def test_rotating_into_a_frame():
    quarter = rotation_matrix(jnp.full((1, 1), np.pi / 2))
    assert_allclose(quarter[0, 0], [[0, -1], [1, 0]], atol=1e-7)
    got = rotate_into(jnp.array([[[[0.0, 1.0]]]]), quarter)
    assert_allclose(got[0, 0, 0], [-1.0, 0.0], atol=1e-7)


def test_neutral_frames_change_nothing_bit_for_bit():
    places = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 1, 9, 2)), jnp.float32)
    neutral = Frames(rotation=jnp.eye(2)[None, None])
    assert_array_equal(relative_positions(places, neutral, 5.0), places)


def test_one_pixel():
    grid = grid_positions(5, 5)
    weights = np.zeros(25)
    weights[7] = 1
    frames = estimated(grid, weights)
    assert_allclose(frames.position, grid[7], atol=1e-6)
    assert_array_equal(frames.rotation, np.eye(2))
    assert_allclose(frames.scale, [0.001, 0.001], rtol=1e-5)


def test_one_pixel_of_a_finer_grid_has_the_floor_that_epsilon_sets():
    grid = grid_positions(16, 16)
    weights = np.zeros(256)
    weights[37] = 1
    assert_allclose(estimated(grid, weights).scale, [0.00153, 0.00112], atol=1e-5)


def test_two_pixels_side_by_side():
    grid = grid_positions(5, 5)
    frames = estimated(grid, bar(grid, (0, -1), (0, 1)))
    assert_allclose(frames.position, [0, 0], atol=1e-6)
    assert_allclose(frames.scale, [0.001, 1.0], rtol=1e-5)
    assert_array_equal(frames.rotation, np.eye(2))


def test_the_wider_limit_takes_the_major_axis():
    grid = grid_positions(5, 5)
    upright = bar(grid, (-1, 0), (0, 0), (1, 0))
    level = bar(grid, (0, -1), (0, 0), (0, 1))
    rising = bar(grid, (-1, -0.5), (0, 0), (1, 0.5))  # steep: 63 degrees
    assert angle_of(estimated(grid, upright, limit=45).rotation) == 0
    assert angle_of(estimated(grid, level, limit=45).rotation) == 0
    assert_allclose(angle_of(estimated(grid, upright, limit=90).rotation), -90, atol=1e-4)
    assert angle_of(estimated(grid, level, limit=90).rotation) == 0
    steep = np.rad2deg(np.arctan2(1, 0.5))
    assert_allclose(angle_of(estimated(grid, rising, limit=90).rotation), steep, atol=1e-3)
    assert_allclose(angle_of(estimated(grid, rising, limit=45).rotation), steep - 90, atol=1e-3)


@pytest.mark.parametrize(
    ("alpha", "theta", "first", "second"),
    [
        (0, 0.00, 0.3058, 0.0944),
        (30, 29.87, 0.2943, 0.1008),
        (44, 44.01, 0.2958, 0.1001),
        (46, -44.01, 0.1001, 0.2958),
        (60, -29.87, 0.1008, 0.2943),
        (90, 0.00, 0.0944, 0.3058),
        (-30, -29.87, 0.2943, 0.1008),
    ],
)
def test_a_turned_ellipse(alpha, theta, first, second):
    grid = grid_positions(41, 41)
    turned = rotation_matrix(jnp.full((1, 1), np.deg2rad(alpha)))
    own = np.asarray(rotate_into(grid[None, None], turned)[0, 0])
    inside = (own[:, 1] / 0.6) ** 2 + (own[:, 0] / 0.2) ** 2 <= 1 + 1e-6
    frames = estimated(grid, inside)
    assert_allclose(frames.position, [0, 0], atol=1e-5)
    assert_allclose(angle_of(frames.rotation), theta, atol=0.01)
    assert_allclose(frames.scale, [second, first], atol=1e-4)  # stored as (y, x) of the frame


def closed_form(offsets, weights):
    """The released code's eigenvectors, in float64, for one slot: columns v1 and v2."""
    y, x = offsets[:, 0], offsets[:, 1]
    yy, xy, xx = ((weights * a * b).sum() for a, b in ((y, y), (x, y), (x, x)))
    if abs(xy + 1e-16) < 1e-6:
        return np.eye(2)
    root = np.sqrt(4 * xy**2 + (xx - yy) ** 2 + 1e-16)
    axes = [np.array([((xx + yy + s * root) / 2 - yy) / (xy + 1e-16), 1.0]) for s in (1, -1)]
    first, second = (axis / np.linalg.norm(axis) for axis in axes)
    if -0.707 < first[0] < 0.707:
        first, second = second, first
    return np.stack([first if first[0] >= 0 else -first, second], axis=1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), sharpness=st.floats(0.1, 8))
def test_axes_are_those_of_the_closed_form(seed, sharpness):
    """Orthonormal to rounding, never mirrored, never more than 45.009 degrees away."""
    grid = np.float64(grid_positions(6, 7))
    weights = np.exp(sharpness * np.random.default_rng(seed).standard_normal(len(grid)))
    weights /= weights.sum()
    offsets = grid - weights @ grid
    frame = _frame(jnp.asarray(offsets, jnp.float32), jnp.asarray(weights, jnp.float32))
    assert_allclose(frame.T @ frame, np.eye(2), atol=1e-6)
    assert_allclose(np.linalg.det(frame), 1, atol=1e-6)
    assert frame[0, 0] >= 0.707 - 1e-6
    wanted = closed_form(offsets, weights)
    away = abs(abs(np.rad2deg(np.arctan2(wanted[1, 0], wanted[0, 0]))) - 45)
    if away > 0.05:
        assert_allclose(frame, wanted, atol=2e-3)


@quick_jit
def _frame(offsets, weights):
    return rotation_matrix(principal_angle(offsets[None, None], weights[None, None]))[0, 0]


def test_turning_a_cloud_turns_its_frame():
    """By the same angle modulo 90 degrees; the spreads stay, or change places after a wrap."""
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((60, 2)) * [0.1, 0.4]
    weights = rng.uniform(0.5, 1, 60)
    before = estimated(np.float32(cloud), weights)
    for phi in (10, 40, 80, -60, 200):
        matrix = np.asarray(rotation_matrix(jnp.float32(np.deg2rad(phi))))
        turned = (cloud[:, ::-1] @ matrix.T)[:, ::-1]
        after = estimated(np.float32(turned), weights)
        wanted = angle_of(before.rotation) + phi
        wraps = round(wanted / 90)
        assert_allclose(angle_of(after.rotation), wanted - 90 * wraps, atol=0.01)
        scale = before.scale[::-1] if wraps % 2 else before.scale
        assert_allclose(after.scale, scale, rtol=1e-4)


def test_no_attention_leaves_a_small_frame_in_the_middle():
    grid = grid_positions(35, 35)
    frames = estimated(grid, np.zeros(1225))
    assert_array_equal(frames.position, [0, 0])
    assert_array_equal(frames.rotation, np.eye(2))
    assert_allclose(frames.scale, [2.1e-3, 2.1e-3], rtol=0.02)


@pytest.mark.parametrize("weights", ["none", "one", "row", "all"])
def test_gradients_of_degenerate_weights_are_finite(weights):
    grid = jnp.asarray(grid_positions(5, 5))[None]
    picked = {"none": [], "one": [7], "row": [10, 11, 12, 13, 14], "all": range(25)}[weights]
    mass = jnp.zeros((1, 1, 25)).at[0, 0, jnp.array(list(picked), jnp.int32)].set(1.0)

    def total(mass, grid):
        mass = mass / (mass.sum(-1, keepdims=True) + 1e-8)
        parts = ("position", "scale", "rotation")
        frames = estimate_frames(grid, mass, parts, epsilon=1e-8, scales=(0.001, 2.0))
        return sum(leaf.sum() for leaf in jax.tree.leaves(frames))

    for leaf in jax.grad(total, argnums=(0, 1))(mass, grid):
        assert np.isfinite(leaf).all()


def test_a_grid_of_one_row_has_finite_gradients():
    grid = jnp.asarray(grid_positions(1, 6))[None]

    def total(mass):
        frames = estimate_frames(
            grid, mass, ("position", "scale"), epsilon=1e-8, scales=(0.001, 2.0)
        )
        return frames.scale.sum() + frames.position.sum()

    assert np.isfinite(jax.grad(total)(jnp.full((1, 2, 6), 1 / 6))).all()
