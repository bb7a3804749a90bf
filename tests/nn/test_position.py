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
)


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
