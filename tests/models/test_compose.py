import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.small import SHAPE, context, defined, scenes, small_model
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.models.compose import compose, seen_codes


@pytest.fixture(scope="module")
def made():
    definition, params = defined(small_model(initializer="dictionary"))
    model = definition.bind(params)
    variables = model.init_variables(jax.random.key(0))
    prediction, _ = model(scenes(0, 1), context(train=False), variables)
    return model, variables, prediction


def run(made, allowed, seed=0):
    model, variables, prediction = made
    keys = jax.random.split(jax.random.key(seed), 3)
    return compose(model, variables, prediction.tokens, jnp.asarray(allowed), keys)


def test_seen_codes():
    codes = jnp.asarray([[0, 3, 3], [3, 0, 4]])
    assert_array_equal(seen_codes(codes, 6), [True, False, False, True, True, False])


def test_scenes_of_allowed_entries(made):
    grouping, drawn, codes = run(made, [True, False, True, False, False])
    assert set(np.unique(codes)) == {0, 2}
    assert drawn.output.shape == (3, *SHAPE)
    assert_allclose(drawn.masks.sum(1), np.ones((3, *SHAPE[:2])), atol=1e-5)
    assert np.isfinite(grouping.slots.vectors).all()


def test_scenes_differ_and_come_again(made):
    everything = [True] * 5
    first, again, other = (run(made, everything, seed)[1].output for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_needs_a_dictionary():
    definition, params = defined(small_model())
    model = definition.bind(params)
    prediction, _ = model(scenes(0), context(), model.init_variables(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(ConfigError, match="initializer=dictionary"):
        compose(model, {}, prediction.tokens, jnp.ones(5, bool), keys)
