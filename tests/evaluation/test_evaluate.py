"""Evaluation of a model: independent of batches and devices, honest about what it saw."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from tiny import DotsConfig, dots, experiment

from slots import metrics
from slots.config import ConfigError
from slots.evaluation import Evaluation, EvaluationConfig, Evaluator, make_predict, merge
from slots.evaluation.evaluation import METRICS
from slots.experiment import build

MASKS = {"fg_ari", "ari", "mbo", "miou", "recall", "corloc"}
PIXELS = {"mse_mean", "mse_sum", "psnr"}
LABELLED: dict[str, Any] = {"label_size": 10}


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    """Parameters and variables."""
    state = experiment(**LABELLED).trainer.init()
    return jax.device_get((state.params, state.variables))


def evaluate(model: tuple[Any, Any], *settings: str, **data: Any) -> Evaluation:
    """The dots evaluated on the mesh of their settings."""
    built = experiment("eval.batch_size=16", *settings, **{**LABELLED, **data})
    config = built.config.eval
    return Evaluator(built.definition, built.dataset, config, built.trainer.mesh)(*model)


@pytest.fixture(scope="module")
def expected(model: tuple[Any, Any]) -> Evaluation:
    return evaluate(model)


def assert_equal_values(one: Evaluation, other: Evaluation) -> None:
    assert one.per_example.keys() == other.per_example.keys()
    for name, values in one.per_example.items():
        np.testing.assert_allclose(values, other.per_example[name], rtol=1e-5, atol=1e-6)
    for name, statistic in one.statistics.items():
        assert statistic.count == other.statistics[name].count
        assert statistic.mean == pytest.approx(other.statistics[name].mean, rel=1e-5, abs=1e-6)


def test_reports_masks_of_decoder_and_attention(expected: Evaluation) -> None:
    names = MASKS | PIXELS | {f"{name}_attention" for name in MASKS}
    health = [name for name in expected.statistics if name.startswith("health/")]
    assert health
    reported = [n for n in METRICS if n in names]
    assert list(expected.per_example) == ["index", *reported, "objects"]
    assert list(expected.statistics) == [*reported, *health]
    assert expected.protocol.id == "house/image"
    np.testing.assert_array_equal(expected.per_example["index"], np.arange(16))
    attended = [expected.per_example[f"{name}_attention"] for name in ("fg_ari", "mbo")]
    drawn = [expected.per_example[name] for name in ("fg_ari", "mbo")]
    assert not np.array_equal(attended, drawn)


def test_values_are_those_of_the_metrics(model: tuple[Any, Any], expected: Evaluation) -> None:
    built = experiment(**LABELLED)
    (batch,) = built.dataset.held_out("val", 16, 16)
    predict = make_predict(built.definition, 0)
    prediction = jax.jit(lambda *args: predict(*args)[1])(*model, batch)
    drawn = prediction.reconstruction
    labels = metrics.labels_from_masks(drawn.masks, (10, 10))
    sizes = {"num_true": 2, "num_pred": drawn.masks.shape[1]}
    ari = metrics.adjusted_rand_index(batch.segmentation, labels, **sizes)
    np.testing.assert_allclose(expected.per_example["ari"], ari, atol=1e-6)
    error = np.square(np.asarray(batch.image) - np.asarray(drawn.output)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(expected.per_example["mse_mean"], error, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 7])
def test_batch_size_changes_nothing(
    size: int, model: tuple[Any, Any], expected: Evaluation
) -> None:
    assert_equal_values(evaluate(model, f"eval.batch_size={size}"), expected)


@pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices")
@pytest.mark.parametrize("size", [16, 3])
def test_neither_do_eight_devices(size: int, model: tuple[Any, Any], expected: Evaluation) -> None:
    settings = ("mesh.data=4", "mesh.fsdp=2", f"eval.batch_size={size}")
    assert_equal_values(evaluate(model, *settings), expected)


def test_count_takes_the_first_examples(model: tuple[Any, Any], expected: Evaluation) -> None:
    found = evaluate(model, "eval.count=5")
    np.testing.assert_array_equal(found.per_example["index"], np.arange(5))
    for name, values in found.per_example.items():
        np.testing.assert_allclose(values, expected.per_example[name][:5], rtol=1e-5, atol=1e-6)
    everything = evaluate(model, "eval.count=null")
    assert everything.statistics["mse_mean"].count == 16


def test_the_seed_of_evaluation_draws_the_first_slots(
    model: tuple[Any, Any], expected: Evaluation
) -> None:
    found = evaluate(model, "eval.seed=1")
    assert not np.array_equal(found.per_example["mse_mean"], expected.per_example["mse_mean"])


@pytest.mark.parametrize("label_size", [5, 20])
def test_labels_may_have_another_size(label_size: int, model: tuple[Any, Any]) -> None:
    found = evaluate(model, label_size=label_size)
    built = experiment(label_size=label_size)
    (batch,) = built.dataset.held_out("val", 16, 16)
    assert batch.segmentation.shape == (16, label_size, label_size)
    predict = make_predict(built.definition, 0)
    prediction = jax.jit(lambda *args: predict(*args)[1])(*model, batch)
    masks = prediction.reconstruction.masks
    labels = metrics.labels_from_masks(masks, (label_size, label_size))
    sizes = {"num_true": 2, "num_pred": masks.shape[1]}
    iou = metrics.mean_best_overlap(batch.segmentation, labels, **sizes)
    np.testing.assert_allclose(found.per_example["mbo"], iou, atol=1e-6)


def test_ignored_pixels_do_not_count(model: tuple[Any, Any], expected: Evaluation) -> None:
    found = evaluate(model, ignore=True)
    assert not np.array_equal(found.per_example["ari"], expected.per_example["ari"])
    np.testing.assert_allclose(
        found.per_example["mse_mean"], expected.per_example["mse_mean"], rtol=1e-6
    )
    built = experiment(ignore=True, **LABELLED)
    (batch,) = built.dataset.held_out("val", 16, 16)
    hidden = np.where(batch.ignore, 0, batch.segmentation).max(axis=(1, 2)) == 0
    assert 0 < hidden.sum() < 16  # the whole object is ignored in some
    np.testing.assert_array_equal(np.isnan(found.per_example["fg_ari"]), hidden)
    assert found.statistics["fg_ari"].count == 16 - hidden.sum()


def test_without_labels_only_pixels_are_compared(model: tuple[Any, Any]) -> None:
    found = evaluate(model, label_size=None)
    assert {name for name in found.statistics if not name.startswith("health/")} == PIXELS


def test_members_are_merged_by_column(model: tuple[Any, Any], expected: Evaluation) -> None:
    other = evaluate(model, "eval.seed=1")
    found = merge([expected, other])
    np.testing.assert_array_equal(found.per_example["index"], expected.per_example["index"])
    assert list(found.statistics) == list(expected.statistics)
    for name, statistic in found.statistics.items():
        if not name.startswith("health/"):  # that is of all examples together
            columns = [expected.per_example[name], other.per_example[name]]
            np.testing.assert_array_equal(found.per_example[name], columns)
        means = [one.statistics[name].mean for one in (expected, other)]
        assert statistic.members == tuple(means)
        assert statistic.mean == pytest.approx(sum(means) / 2)
    assert found.verdicts == expected.verdicts + other.verdicts
    assert merge([expected]) is expected


class TestSettings:
    def test_an_unknown_protocol_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"no protocol 'mine'.*`slots list`"):
            dots("eval.protocol=mine")

    @pytest.mark.parametrize(
        "settings", [{"every": 0}, {"batch_size": 0}, {"count": 0}, {"seed": -1}], ids=str
    )
    def test_senseless_settings_are_refused(self, settings: dict[str, int]) -> None:
        (name,) = settings
        with pytest.raises(ConfigError, match=rf"eval\.{name}={settings[name]}"):
            EvaluationConfig(**settings)


def test_draws_depend_on_the_example_not_on_its_batch(model: tuple[Any, Any]) -> None:
    built = build(dataclasses.replace(dots(), data=DotsConfig(**LABELLED)))
    predict = jax.jit(lambda *args: make_predict(built.definition, 3)(*args)[1].grouping.slots)
    whole = predict(*model, next(built.dataset.held_out("val", 16)))
    halves = [predict(*model, batch) for batch in built.dataset.held_out("val", 8)]
    joined = np.concatenate([half.vectors for half in halves])
    np.testing.assert_allclose(joined, whole.vectors, atol=1e-5)
