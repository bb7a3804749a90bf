import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from slots import metrics
from slots.config import ConfigError
from slots.objectives import MaskOverlapConfig

from .test_component_error import MASKS, PARTS, WANTED, drawing
from .test_reconstruction import values


def test_is_the_metric():
    found = values(MaskOverlapConfig(), drawing(PARTS, MASKS, WANTED))
    assert_allclose(found, metrics.mask_overlap(jnp.asarray(MASKS)), rtol=1e-6)
    assert (np.asarray(found) > 0).all()


def test_gradient_parts_masks_that_overlap():
    """Two slots that claim much the same places: less overlap down the gradient."""
    logits = jnp.array([[[[2.0, 1], [0, -1]], [[1.5, 0.5], [-1, 0]]]])

    def loss(logits):
        return metrics.mask_overlap(jax.nn.sigmoid(logits)).sum()

    gradient = jax.grad(loss)(logits)
    assert np.isfinite(gradient).all()
    assert loss(logits - 0.1 * gradient) < loss(logits)


def test_needs_two_masks():
    found = drawing(PARTS, MASKS, WANTED)
    none = dataclasses.replace(found, reconstruction=None)
    with pytest.raises(ConfigError, match="two masks"):
        values(MaskOverlapConfig(), none)
