import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled
from numpy.testing import assert_allclose, assert_array_equal

from slots.nn import (
    PositionEmbedding,
    encode_positions,
    grid_positions,
    pixel_positions,
    position_width,
    slot_positions,
)
from slots.types import Frames, Slots


def test_grid_corners_in_the_linear_code():
    code = encode_positions(grid_positions(2, 2), "linear")  # (y, x, 1 - y, 1 - x)
    assert_array_equal(code, [[0, 0, 1, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]])


def test_grid_is_row_major_from_corner_to_corner():
    grid = grid_positions(3, 2)
    assert_array_equal(grid, [[-1, -1], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 1]])
    assert_array_equal(grid_positions(1, 3), [[0, -1], [0, 0], [0, 1]])
    assert_array_equal(grid_positions(1, 1), [[0, 0]])


def test_pixel_positions_ignore_the_aspect_ratio():
    places = pixel_positions(jnp.array([0.0, 1.5, 3.0]), jnp.array([0.0, 8.0]), (4, 9))
    assert_allclose(places, [[-1, -1], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 1]], atol=1e-6)


def test_coordinates_are_left_alone():
    grid = grid_positions(2, 3)
    assert_array_equal(encode_positions(grid, "coordinates"), grid)


def test_fourier_code():
    code = encode_positions(jnp.array([[0.5, -0.25]]), "fourier", octaves=2)
    angles = np.pi * np.array([0.5, -0.25])
    parts = [np.sin(angles), np.cos(angles), np.sin(2 * angles), np.cos(2 * angles)]
    assert_allclose(code, [[0.5, -0.25, *np.concatenate(parts)]], atol=1e-6)


@pytest.mark.parametrize("kind", ["coordinates", "linear", "fourier"])
@pytest.mark.parametrize("octaves", [1, 4])
def test_width_is_that_of_the_code(kind, octaves):
    code = encode_positions(grid_positions(2, 2), kind, octaves)
    assert code.shape == (4, position_width(kind, octaves))


def test_embedding_projects_the_code_with_a_bias():
    embedding = filled(lambda rngs: PositionEmbedding(5, "linear", rngs=rngs))
    code = np.array([0, 0.5, 1, 0.5], np.float32)
    projection = embedding.projection
    wanted = code @ np.asarray(projection.kernel[...]) + np.asarray(projection.bias[...])
    assert_allclose(embedding(jnp.array([-1.0, 0.0])), wanted, atol=1e-6)


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
