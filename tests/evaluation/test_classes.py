"""Classes of scenes in an evaluation: per example, pooled, and where nothing is known."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.small import predictor, scenes, small_reasoning
from sklearn.metrics import f1_score

from slots import metrics
from slots.config import override, replace
from slots.evaluation import Evaluation, Evaluator, make_predict
from slots.evaluation.classes import class_rows, class_scores, class_values
from slots.experiment import Experiment, build
from slots.presets import load

SETTINGS = (
    "model.encoder.features=8",
    "model.encoder.hidden=8",
    "model.encoder.head.hidden=8",
    "model.slot_dim=8",
    "model.hidden=8",
    "model.module.num_iterations=1",
    "model.module.mlp_hidden=8",
    "data.resolution=16",
    "eval.count=24",
    "eval.batch_size=16",
    "mesh.data=1",
)


@pytest.fixture(scope="module")
def built() -> Experiment:
    return build(override(load("slot_attention/digits_cpu"), SETTINGS))


@pytest.fixture(scope="module")
def state(built: Experiment) -> tuple:
    state = built.trainer.init()
    return state.params, state.variables


@pytest.fixture(scope="module")
def found(built: Experiment, state: tuple) -> Evaluation:
    trainer = built.trainer
    return Evaluator(built.definition, built.dataset, built.config.eval, trainer.mesh)(*state)


def test_scores_are_those_of_all_scenes_together(built, state, found):
    (batch,) = built.dataset.held_out("val", 24, 24)
    predict = make_predict(built.definition, 0)
    prediction = jax.jit(lambda *args: predict(*args)[1])(*state, batch)
    told = np.asarray(prediction.outputs["class_logits"]).argmax(-1)
    label = np.asarray(batch.label)
    np.testing.assert_array_equal(found.per_example["accuracy"], told == label)
    assert found.statistics["accuracy"].mean == pytest.approx((told == label).mean())
    cost = metrics.matched_huber_cost(prediction.outputs["properties"], prediction.target)
    np.testing.assert_allclose(found.per_example["hmc"], cost, rtol=1e-5)
    f1 = f1_score(label, told, labels=np.unique(label), average="macro", zero_division=0)
    assert found.statistics["macro_f1"].mean == pytest.approx(f1)
    assert found.statistics["macro_f1"].count == 24
    assert math.isnan(found.statistics["macro_f1"].stderr)


def test_masks_are_those_of_attention(found):
    assert {"fg_ari_attention", "mbo_attention"} <= set(found.statistics)
    assert not {"fg_ari", "mse_mean", "ap_inf"} & set(found.statistics)


def predicted():
    predict, params = predictor(small_reasoning())
    shapes = jax.eval_shape(predict, params, scenes(0, 1))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def test_what_is_not_finite_is_wrong():
    logits = jnp.asarray([[0, 9, 0], [jnp.nan, 0, 0]])
    prediction = replace(predicted(), outputs={"class_logits": logits})
    batch = dataclasses.replace(scenes(0, 1), label=jnp.asarray([1, 0]))
    np.testing.assert_array_equal(class_rows(prediction, batch)["class/found"], [1, -1])
    values = class_values(prediction, batch)
    np.testing.assert_array_equal(values["accuracy"], [1, 0])
    assert set(values) == {"accuracy"}  # which objects there are is not known
    rows = jax.device_get(class_rows(prediction, batch))
    assert class_scores(rows) == {"macro_f1": 0.5}


def test_nothing_without_classes():
    batch = scenes(0, 1)
    assert class_values(predicted(), batch) == {}
    labelled = dataclasses.replace(batch, label=jnp.asarray([1, 0]))
    assert class_values(replace(predicted(), outputs={}), labelled) == {}
    assert class_scores({}) == {}
