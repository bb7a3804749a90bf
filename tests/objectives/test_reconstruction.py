import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.small import context, defined, predictor, scenes, small_model
from numpy.testing import assert_allclose

from slots.config import ConfigError
from slots.objectives import ReconstructionConfig

PREDICT, PARAMS = predictor(small_model())
MODEL = defined(small_model())[0].bind(PARAMS)


def prediction(output, target):
    """A prediction whose drawing and target are given; everything else is zeros."""
    found = jax.eval_shape(PREDICT, PARAMS, scenes(*range(len(output))))
    found = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found)
    drawn = dataclasses.replace(found.reconstruction, output=jnp.asarray(output))
    return dataclasses.replace(found, reconstruction=drawn, target=jnp.asarray(target))


def values(term, found):
    return term(found, scenes(0), context(), MODEL, None)


SHAPE = (3, 2, 2, 3)
RNG = np.random.default_rng(0)
DRAWN, WANTED = RNG.standard_normal((2, *SHAPE)).astype(np.float32)


def test_mean_and_sum_per_example():
    error = ((DRAWN - WANTED) ** 2).reshape(3, -1)
    found = prediction(DRAWN, WANTED)
    assert_allclose(values(ReconstructionConfig(), found), error.mean(1), rtol=1e-5)
    assert_allclose(values(ReconstructionConfig(reduce="sum"), found), error.sum(1), rtol=1e-5)


def test_black_for_white_at_the_size_of_clevr():
    white = np.ones((1, 128, 128, 3), np.float32)
    found = prediction(0 * white, white)
    assert_allclose(values(ReconstructionConfig(reduce="sum"), found), [49_152], rtol=0)


def test_worked_example():
    drawn = np.zeros(SHAPE, np.float32)
    drawn[1, 0, 0, 0] = 3.0
    drawn[2, 1, 1] = 1.0
    found = prediction(drawn, np.zeros(SHAPE, np.float32))
    assert_allclose(values(ReconstructionConfig(), found), [0, 9 / 12, 3 / 12], rtol=1e-6)
    assert_allclose(values(ReconstructionConfig(reduce="sum"), found), [0, 9, 3], rtol=1e-6)


def test_examples_do_not_mix():
    alone = values(ReconstructionConfig(), prediction(DRAWN[1:2], WANTED[1:2]))
    among = values(ReconstructionConfig(), prediction(DRAWN, WANTED))
    assert_allclose(alone[0], among[1], rtol=1e-6)


def test_half_precision_is_squared_in_float32():
    drawn = np.full(SHAPE, 1.0, jnp.bfloat16)
    target = np.full(SHAPE, 1.0 + 2**-7, jnp.bfloat16)  # one unit in the last place
    got = values(ReconstructionConfig(), prediction(drawn, target))
    assert got.dtype == jnp.float32
    assert_allclose(got, np.full(3, 2.0**-14), rtol=1e-6)


@pytest.mark.parametrize("missing", ["reconstruction", "target"])
def test_needs_a_model_that_reconstructs(missing):
    found = dataclasses.replace(prediction(DRAWN, WANTED), **{missing: None})
    with pytest.raises(ConfigError, match="reconstructs"):
        values(ReconstructionConfig(), found)
