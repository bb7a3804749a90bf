"""Slot health in evaluations: rows, verdicts, alarms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.small import defined, objects, predictor, scenes, small_model, small_set_model
from numpy.testing import assert_allclose

from slots.evaluation import alarms
from slots.evaluation.health import health_rows, judge
from slots.evaluation.sets import AP_NAMES, average_precisions, set_rows
from slots.metrics import VERDICTS
from slots.types import Batch


def records(*verdicts, total=100):
    """Evaluations at equal distances; one verdict, or one for each member."""
    step = total // len(verdicts)
    return [
        {
            "step": step * (i + 1),
            "kind": "val",
            "verdicts": [{"name": n} for n in ([told] if isinstance(told, str) else told)],
        }
        for i, told in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("verdicts", "want"),
    [
        (["uniform"] * 3, ["uniform"]),
        (["uniform"] * 2, [None]),
        (["healthy"] * 5, [None]),
        (["uniform", "stripes", "uniform"], [None]),
        (["healthy", "stripes", "stripes", "stripes"], ["stripes"]),
        (["stripes", "stripes", "stripes", "healthy"], [None]),
        ([("uniform", "healthy")] * 3, ["uniform", None]),
    ],
)
def test_alarms(verdicts, want):
    assert alarms(records(*verdicts), 100) == want


def test_early_evaluations_do_not_count():
    told = records(*["uniform"] * 3, total=30)
    assert alarms(told, 30) == ["uniform"]
    assert alarms(told, 250) == [None]  # the first two are in the first tenth
    assert alarms(told[:0], 30) == []


def test_records_of_training_do_not_count():
    told = records(*["uniform"] * 3)
    told[1:1] = [{"step": 40, "kind": "train", "loss": 1.0}]
    assert alarms(told, 100) == ["uniform"]


def test_decoded_masks_are_judged():
    predict, params = predictor(small_model())
    prediction = predict(params, scenes(*range(4)))
    rows = jax.device_get(health_rows(prediction, scenes(*range(4)), 0))
    health, (verdict,) = judge(rows)
    masks = np.float64(prediction.reconstruction.masks)
    entropy = -(masks * np.log(masks)).sum(1).mean() / np.log(masks.shape[1])
    assert_allclose(health["health/entropy"], entropy, rtol=1e-4)
    assert verdict.name in VERDICTS


def test_attention_is_judged_where_nothing_is_drawn():
    predict, params = predictor(small_set_model())
    batch = scenes(*range(4))
    rows = health_rows(predict(params, batch), batch, 0)
    assert rows["health/share"].shape == (4, 3)


def test_one_slot_is_not_judged():
    config = small_model(num_slots=1, decoder="broadcast")
    predict, params = predictor(config)
    rows = health_rows(predict(params, scenes(0)), scenes(0), 0)
    assert rows == {}
    assert judge(rows) == ({}, ())


def test_layout_of_the_truth_is_taken_into_account():
    """Masks fixed in place are healthy where the true ones are so too."""
    labels = np.broadcast_to(np.arange(16) // 4, (32, 16, 16))
    masks = np.moveaxis(np.eye(4)[labels], -1, 1).astype(np.float32)
    predict, params = predictor(small_model())
    prediction = predict(params, scenes(*range(32)))
    drawn = dataclasses.replace(prediction.reconstruction, masks=jnp.asarray(masks))
    prediction = dataclasses.replace(prediction, reconstruction=drawn)
    batch = scenes(*range(32))
    told = judge(jax.device_get(health_rows(prediction, batch, 3)))[1][0]
    assert told.name == "stripes"
    true = dataclasses.replace(batch, segmentation=jnp.asarray(labels, jnp.int32))
    told = judge(jax.device_get(health_rows(prediction, true, 3)))[1][0]
    assert told.name == "healthy"


def test_average_precision_of_a_model():
    config = small_set_model(coordinates="symmetric", output="softmax")
    definition, params = defined(config)
    predict, _ = predictor(config)
    batch = dataclasses.replace(scenes(*range(5)), properties=objects(5))
    assert isinstance(batch, Batch)
    rows = jax.device_get(set_rows(predict(params, batch)))
    model = definition.bind(params)
    perfect = rows | {"properties": rows["target"]}
    assert_allclose(list(average_precisions(model, perfect).values()), np.ones(5))
    assert tuple(average_precisions(model, rows)) == AP_NAMES
    spoilt = rows | {"properties": np.full_like(rows["target"], np.nan)}
    assert np.isnan(list(average_precisions(model, spoilt).values())).all()
    assert set_rows(predict(params, scenes(0))) == {}
    assert average_precisions(model, {}) == {}


def test_off_by_a_tenth_in_the_middle_range():
    """A tenth of [-1, 1]'s unit is a distance of 0.3 there, and of 0.6 where numbers are halved."""
    for coordinates, want in (("symmetric", [1, 1, 1, 0, 0]), ("unit", [1, 1, 0, 0, 0])):
        config = small_set_model(coordinates=coordinates)
        definition, params = defined(config)
        batch = dataclasses.replace(scenes(0, 1), properties=objects(2, count=2))
        target = definition.bind(params).layout.encode(batch.properties, coordinates)
        found = np.array(target)
        found[..., 0] += 0.1
        rows = {"properties": found, "target": np.asarray(target)}
        got = average_precisions(definition.bind(params), rows)
        assert_allclose(list(got.values()), want)
