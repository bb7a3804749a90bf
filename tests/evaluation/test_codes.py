"""How a dictionary's use and the number of slots it asks for are reported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from contracts.filled import quick_jit
from contracts.small import context, defined, scenes, small_model
from numpy.testing import assert_allclose

from slots import metrics
from slots.config import replace
from slots.evaluation import protocol
from slots.evaluation.codes import code_rows, code_scores
from slots.evaluation.evaluate import make_predict, picture_metrics
from slots.evaluation.scoring import Sizes
from slots.types import Context


def predicted(config, batch):
    """Model, prediction and variables, without training."""
    definition, params = defined(config)
    model = definition.bind(params)
    variables = model.init_variables(jax.random.key(0))
    prediction, _ = model(batch, context(train=False), variables)
    return model, prediction, variables


def test_use_of_a_dictionary():
    config = small_model(initializer="dictionary")
    _, prediction, variables = predicted(config, scenes(*range(6)))
    rows = jax.device_get(code_rows(prediction))
    codes = rows["codes/codes"]
    assert codes.shape == (6, config.num_slots)
    found = code_scores(variables, rows)
    assert found["codes/used"] == len(set(codes.ravel().tolist()))
    shares = np.bincount(codes.ravel()) / codes.size
    shares = shares[shares > 0]
    assert_allclose(found["codes/perplexity"], np.exp(-(shares * np.log(shares)).sum()), rtol=1e-5)
    keys = np.asarray(variables["initializer"]["table"]["keys"])
    assert found["codes/diversity"] == metrics.key_diversity(keys)


def test_draws_are_averaged():
    """The mean over draws of first slots; codes stay those of a draw."""
    definition, params = defined(small_model(initializer="dictionary"))
    variables = definition.bind(params).init_variables(jax.random.key(0))
    keys = jax.random.split(jax.random.key(3), 4)

    @quick_jit
    def once(key):
        now = Context(step=jnp.int32(0), key=key, train=False)
        return definition.bind(params)(scenes(0, 1), now, variables)[0]

    def drawn(number, batch):
        predict = make_predict(definition, 3, draws=number)
        return quick_jit(lambda batch: predict(params, variables, batch)[1])(batch)

    single = [once(key) for key in keys]
    found = drawn(4, scenes(0, 1))
    for read in (lambda p: p.reconstruction.output, lambda p: p.grouping.slots.vectors):
        assert_allclose(read(found), np.mean([read(one) for one in single], axis=0), atol=1e-5)
    assert_allclose(found.reconstruction.masks.sum(1), np.ones((2, 16, 16)), atol=1e-5)
    codes = [one.grouping.diagnostics["codes"] for one in (found, single[0])]
    assert (codes[0] == codes[1]).all()
    one, two = (drawn(number, scenes(0)) for number in (1, 2))
    assert np.abs(one.grouping.slots.vectors - two.grouping.slots.vectors).max() > 1e-4


def test_without_a_dictionary_there_is_nothing_to_say():
    _, prediction, variables = predicted(small_model(), scenes(0, 1))
    assert code_rows(prediction) == {}
    assert code_scores(variables, {}) == {}


HOUSE = (Sizes(3), protocol("house/image"))


def test_number_of_slots_against_the_truth():
    """Two of three slots for a ground and three objects: two too few."""
    truth = jnp.zeros((1, 16, 16), jnp.int32).at[0, :6, ::5].set(jnp.array([1, 2, 3, 1]))
    batch = dataclasses.replace(scenes(0), segmentation=truth)
    model, prediction, _ = predicted(small_model(), batch)
    assert "slot_count_error" not in picture_metrics(model, prediction, batch, *HOUSE)[0]
    slots = dataclasses.replace(prediction.grouping.slots, active=jnp.array([[True, False, True]]))
    grouping = dataclasses.replace(prediction.grouping, slots=slots)
    counted = dataclasses.replace(prediction, grouping=grouping)
    assert picture_metrics(model, counted, batch, *HOUSE)[0]["slot_count_error"] == 2


def test_inactive_slots_win_no_pixel():
    """A plain picture and its border are a few kinds of things; the other slots claim nothing."""
    config = small_model(initializer="dictionary", num_slots=8)
    config = replace(config, initializer__count="estimated", initializer__least=1)
    plain = dataclasses.replace(scenes(0, 1), image=jnp.full((2, 16, 16, 3), 0.5))
    _, prediction, _ = predicted(config, plain)
    active = np.asarray(prediction.grouping.slots.active)
    assert 0 < active.sum() < active.size
    masks = np.asarray(prediction.reconstruction.masks)[:, : config.num_slots]
    assert (masks[~active] == 0).all()
    assert (masks[active].sum(axis=(1, 2)) > 0).all()
