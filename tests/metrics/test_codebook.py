"""Codebooks and overlap of masks, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from slots.metrics import key_diversity, mask_overlap, perplexity


def test_perplexity_by_hand():
    assert_allclose(perplexity(jnp.array([[0, 0], [1, 2]]), 5), 2.828427, rtol=1e-6)
    assert_allclose(perplexity(jnp.array([[3, 3, 3]]), 5), 1, rtol=1e-6)
    assert_allclose(perplexity(jnp.arange(64)[None], 64), 64, rtol=1e-6)


def test_perplexity_of_what_is_there():
    present = jnp.array([[True, True, False, False]])
    assert_allclose(perplexity(jnp.array([[0, 1, 2, 2]]), 5, present), 2, rtol=1e-6)
    assert np.isnan(perplexity(jnp.array([[0, 1]]), 5, jnp.zeros((1, 2), bool)))


def test_diversity_of_keys():
    """Two orthogonal keys: δ is (0, ¼) from each, whose variance is 1/32."""
    keys = np.eye(2)
    assert_allclose(key_diversity(keys), 1 - 1 / 32, rtol=1e-12)
    assert_allclose(key_diversity(-3 * keys), 1 - 1 / 32, rtol=1e-12)
    assert_allclose(key_diversity(np.ones((4, 3))), 1, atol=1e-7)
    assert np.isnan(key_diversity(keys[:1]))


def test_overlap_by_hand():
    """Halves that touch overlap nowhere; equal masks wholly, an empty one not at all."""
    left = np.repeat([[1.0, 1.0, 0.0, 0.0]], 2, axis=0)
    apart = np.stack([left, 1 - left])
    assert_allclose(mask_overlap(jnp.float32(apart[None])), [0])
    half = np.stack([left, left]) * 0.5
    assert_allclose(mask_overlap(jnp.float32(half[None])), [1])
    nothing = np.stack([left, np.zeros_like(left)])
    assert_allclose(mask_overlap(jnp.float32(nothing[None])), [0])
    # The first stretched is (1, 0.2, 0); the second claims its first and second places.
    one = np.array([[[[0.6, 0.28, 0.2]], [[0.5, 0.5, 0.1]]]])
    # First to second: 2 (1 + 0.2) / (1.2 + 2). Second, (1, 1, 0), to the first's (1, 0, 0).
    want = (2 * 1.2 / 3.2 + 2 * 1 / 3) / 2
    assert_allclose(mask_overlap(jnp.float32(one)), [want], rtol=1e-6)


def test_overlap_needs_two_slots():
    with pytest.raises(ValueError, match="two or more"):
        mask_overlap(jnp.ones((1, 1, 2, 2)))
