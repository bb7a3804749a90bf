"""One update: averaging, accumulation, dtypes, rematerialisation, steps that are not finite."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from tiny import advance, arrays, distance, dots, experiment, same_bits, train_steps

from slots.config import ConfigError
from slots.training.rules import named_leaves
from slots.types import Batch, TrainState

Trained = tuple[TrainState, list[float]]


@pytest.fixture(scope="module")
def plain() -> Trained:
    """State and losses after three steps of the plain experiment."""
    return train_steps(experiment(), 3)


def test_a_step_counts_and_learns(plain: Trained) -> None:
    state, losses = plain
    fresh = named_leaves(experiment().trainer.init().params)
    assert int(state.step) == 3
    assert int(state.skipped) == 0
    assert np.all(np.isfinite(losses))
    assert state.ema is None
    for name, new in named_leaves(state.params).items():
        assert np.any(np.asarray(new) != np.asarray(fresh[name])), name


def test_metrics_of_a_step() -> None:
    names = ("reconstruction", "component_error")
    trainer = experiment("objectives.0.weight=2", "objectives.1.weight=3").trainer
    _, metrics = trainer.step()(trainer.init(), next(trainer.batches(0)))
    assert set(metrics) == {
        "loss",
        *names,
        "grad_norm",
        "learning_rate",
        "slot_init_gradient",
    }
    terms = [float(metrics[name]) for name in names]
    assert float(metrics["loss"]) == pytest.approx(2 * terms[0] + 3 * terms[1])
    assert float(metrics["learning_rate"]) == 0  # the first step of the warm-up


def test_the_seeds_decide(plain: Trained) -> None:
    assert same_bits(train_steps(experiment(), 3)[0], plain[0])
    first, other = (experiment(f"train.seed={seed}").trainer.init() for seed in (0, 1))
    assert not same_bits(first.params, other.params)
    first, other = (next(experiment(seed=seed).trainer.batches(0)) for seed in (0, 1))
    assert not same_bits(first.image, other.image)


@pytest.mark.parametrize("count", [2, 4])
def test_accumulation_gives_the_same_update(count: int, plain: Trained) -> None:
    state, losses = train_steps(experiment(f"train.accumulate={count}"), 3)
    assert losses == pytest.approx(plain[1], rel=1e-5)
    assert distance(state.params, plain[0].params) < 1e-5


def test_accumulation_must_divide_the_batch() -> None:
    with pytest.raises(ConfigError, match=r"batch_size=8.*train\.accumulate=3"):
        dots("train.accumulate=3")


def test_remat_changes_nothing_but_memory(plain: Trained) -> None:
    state, losses = train_steps(experiment("model.remat=true"), 3)
    assert losses == pytest.approx(plain[1], rel=1e-5)
    assert distance(state.params, plain[0].params) < 1e-5


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_bfloat16(param_dtype: str, plain: Trained) -> None:
    built = experiment(
        "model.compute_dtype=bfloat16",
        f"model.param_dtype={param_dtype}",
        "optimizer.ema_decay=0.9",
    )
    with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm (0.12) promotes bfloat16
        state, losses = train_steps(built, 3)
    assert {str(x.dtype) for x in jax.tree.leaves(state.params)} == {param_dtype}
    assert {str(x.dtype) for x in jax.tree.leaves(state.ema)} == {"float32"}
    assert losses == pytest.approx(plain[1], rel=0.05)
    assert not same_bits(built.trainer.init().params, state.params)


def test_ema_by_hand() -> None:
    built = experiment("optimizer.ema_decay=0.75")
    state = built.trainer.init()
    expected = arrays(state.params)
    assert same_bits(state.ema, state.params)
    for _ in range(3):
        state, _ = advance(built, state, 1)
        new = arrays(state.params)
        expected = [0.75 * e + 0.25 * p for e, p in zip(expected, new, strict=True)]
    assert distance(state.ema, expected) < 1e-6


def test_frozen_parameters_are_bitwise_unchanged() -> None:
    built = experiment(
        "optimizer.rules=[{pattern: encoder/.*, frozen: true},"
        "{pattern: decoder/.*, learning_rate: 0.5}]",
        "optimizer.weight_decay=0.1",
        "optimizer.clip_norm=1",
    )
    before, after = built.trainer.init().params, train_steps(built, 3)[0].params
    assert same_bits(before["encoder"], after["encoder"])
    for part in ("initializer", "module", "decoder"):
        assert distance(before[part], after[part]) > 0


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    trainer = experiment("optimizer.rules=[{pattern: encodr/.*, frozen: true}]").trainer
    with pytest.raises(ConfigError, match=r"optimizer\.rules: 'encodr/\.\*' matches no parameter"):
        trainer.abstract_state()


class TestNotFinite:
    def test_keeps_the_whole_old_state(self) -> None:
        built = experiment("optimizer.ema_decay=0.75", bad_steps=(2,))
        good, _ = advance(built, built.trainer.init(), 2)
        before = jax.device_get(good)
        kept, losses = advance(built, good, 1)
        assert np.isnan(losses[0])
        for part in ("params", "variables", "opt_state", "ema"):
            assert same_bits(getattr(kept, part), getattr(before, part)), part
        assert int(kept.step) == 3
        assert int(kept.skipped) == 1

    def test_training_goes_on(self) -> None:
        state, losses = train_steps(experiment(bad_steps=(1, 2)), 5)
        assert np.isnan(losses).tolist() == [False, True, True, False, False]
        assert int(state.skipped) == 2
        assert all(np.all(np.isfinite(x)) for x in arrays(state.params))

    def test_one_bad_micro_batch_is_enough(self) -> None:
        state, losses = train_steps(experiment("train.accumulate=4", bad_steps=(1,)), 2)
        assert np.isnan(losses[1])
        assert int(state.skipped) == 1

    def test_a_loss_that_overflows_counts_too(self) -> None:
        trainer = experiment().trainer
        batch = next(trainer.batches(0))
        state = trainer.init()
        before = jax.device_get(state)
        bright = Batch(image=batch.image.at[0, 0, 0, 0].set(1e30), index=batch.index)
        after, metrics = trainer.step()(state, bright)
        assert not np.isfinite(float(metrics["loss"]))
        assert same_bits(after.params, before.params)
        assert int(after.skipped) == 1


def test_a_batch_does_not_depend_on_where_the_stream_started() -> None:
    trainer = experiment().trainer
    late: Any = next(trainer.batches(3))
    assert same_bits(late, next(itertools.islice(trainer.batches(0), 3, None)))
