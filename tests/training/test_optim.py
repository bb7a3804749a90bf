"""Schedules, clipping, weight decay and rules by parameter path."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from slots.config import ConfigError
from slots.presets import load
from slots.training import OptimizerConfig, ParamRule
from slots.training.rules import match, named_leaves

PARAMS = {
    "encoder": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])},
    "decoder": {"kernel": jnp.array([3.0])},
}
GRADIENTS = {
    "encoder": {"kernel": jnp.array([0.3, -0.4]), "bias": jnp.array([0.2])},
    "decoder": {"kernel": jnp.array([1.2])},
}


def config(**changes: Any) -> OptimizerConfig:
    """A constant learning rate of 0.1 without warm-up."""
    settings = {"learning_rate": 0.1, "warmup_steps": 0, "decay": "constant", **changes}
    return OptimizerConfig(**settings)


def update(settings: OptimizerConfig, steps: int = 1) -> Any:
    """What `steps` updates with the same gradient add to the parameters."""
    tx = settings.make(PARAMS, 100)
    params, state = PARAMS, tx.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(steps):
            updates, state = tx.update(GRADIENTS, state, params)
            params = optax.apply_updates(params, updates)
    return jax.tree.map(lambda new, old: np.asarray(new - old), params, PARAMS)


class TestSchedule:
    """Published schedules at the steps where their values are known."""

    @pytest.mark.parametrize(
        ("step", "value"),
        [(0, 0.0), (5_000, 1.932e-4), (10_000, 3.732e-4), (100_000, 2e-4), (500_000, 1.25e-5)],
    )
    def test_object_discovery_of_2020(self, step: int, value: float) -> None:
        got = float(OptimizerConfig().schedule(500_000)(jnp.int32(step)))
        assert got == pytest.approx(value, rel=2e-4)
        exact = 4e-4 * min(1, step / 10_000) * 0.5 ** (step / 100_000)
        assert got == pytest.approx(exact, rel=1e-5)

    @pytest.mark.parametrize(
        ("step", "value"), [(1_000, 3.945e-4), (50_000, 2e-4), (150_000, 5e-5)]
    )
    def test_set_prediction_of_2020(self, step: int, value: float) -> None:
        schedule = OptimizerConfig(warmup_steps=1_000, decay_steps=50_000).schedule(150_000)
        assert float(schedule(jnp.int32(step))) == pytest.approx(value, rel=2e-4)

    @pytest.mark.parametrize(
        ("step", "value"),
        [(0, 0.0), (5_000, 2e-4), (10_000, 4e-4), (255_000, 2e-4), (499_999, 4e-15)],
    )
    @pytest.mark.parametrize("decay_steps", [None, 500_000])
    def test_invariant_slot_attention(
        self, step: int, value: float, decay_steps: int | None
    ) -> None:
        settings = OptimizerConfig(decay="cosine", warmup_steps=10_000, decay_steps=decay_steps)
        got = float(settings.schedule(500_000)(jnp.int32(step)))
        assert got == pytest.approx(value, rel=1e-5, abs=1e-12)

    def test_invariant_slot_attention_on_tetrominoes(self) -> None:
        settings = OptimizerConfig(decay="cosine", warmup_steps=5_000, decay_steps=None)
        assert float(settings.schedule(20_000)(jnp.int32(12_500))) == pytest.approx(2e-4)

    @pytest.mark.parametrize("step", [100, 101, 1_000])
    def test_cosine_ends_at_its_final_fraction(self, step: int) -> None:
        settings = config(decay="cosine", decay_steps=100, final_fraction=0.25)
        assert float(settings.schedule(7)(jnp.int32(step))) == pytest.approx(0.025)

    @pytest.mark.parametrize(
        ("step", "rate", "b1"),
        [
            (0, 1.4e-5, 0.95),
            (7_499, 3.5e-4, 0.85),
            (7_499 + 142_500 // 2, (3.5e-4 + 1.4e-9) / 2, 0.9),
            (149_999, 1.4e-9, 0.95),
        ],
    )
    def test_one_cycle_of_slot_mixture(self, step: int, rate: float, b1: float) -> None:
        settings = load("slot_mixture/clevr_properties").optimizer
        assert float(settings.schedule(150_000)(jnp.int32(step))) == pytest.approx(rate, rel=1e-5)
        assert float(settings.momentum(150_000)(jnp.int32(step))) == pytest.approx(b1, rel=1e-6)

    def test_constant_after_warmup(self) -> None:
        schedule = config(warmup_steps=10).schedule(100)
        values = [float(schedule(jnp.int32(t))) for t in (0, 5, 10, 1_000_000)]
        assert values == pytest.approx([0.0, 0.05, 0.1, 0.1])

    def test_without_warmup_starts_at_full_rate(self) -> None:
        assert float(config().schedule(100)(jnp.int32(0))) == pytest.approx(0.1)


class TestUpdate:
    def test_first_step_of_adam_by_hand(self) -> None:
        # Bias-corrected moments of a first gradient g are g and g²: the step is -lr · sign(g).
        for name, change in named_leaves(update(config())).items():
            sign = np.sign(np.asarray(named_leaves(GRADIENTS)[name]))
            np.testing.assert_allclose(change, -0.1 * sign, rtol=1e-5)

    def test_clipping_scales_to_the_global_norm(self) -> None:
        clip, epsilon = 0.13, 0.05
        norm = np.sqrt(0.3**2 + 0.4**2 + 0.2**2 + 1.2**2)
        changes = named_leaves(update(config(clip_norm=clip, epsilon=epsilon)))
        for name, gradient in named_leaves(GRADIENTS).items():
            scaled = np.asarray(gradient) * clip / norm
            np.testing.assert_allclose(
                changes[name], -0.1 * scaled / (np.abs(scaled) + epsilon), rtol=1e-5
            )

    def test_small_gradients_are_not_clipped(self) -> None:
        one, other = update(config(clip_norm=10.0)), update(config())
        jax.tree.map(np.testing.assert_array_equal, one, other)

    def test_weight_decay_is_decoupled(self) -> None:
        decayed, plain = update(config(weight_decay=0.5)), update(config())
        for name, param in named_leaves(PARAMS).items():
            difference = named_leaves(decayed)[name] - named_leaves(plain)[name]
            np.testing.assert_allclose(difference, -0.1 * 0.5 * np.asarray(param), rtol=1e-5)


class TestRules:
    def test_frozen_parameters_stay(self) -> None:
        changes = update(config(rules=(ParamRule(pattern="encoder/.*", frozen=True),)), steps=3)
        assert not np.any(changes["encoder"]["kernel"])
        assert not np.any(changes["encoder"]["bias"])
        assert np.all(changes["decoder"]["kernel"])

    def test_learning_rate_is_a_factor(self) -> None:
        rules = (ParamRule(pattern=".*/kernel", learning_rate=0.25),)
        slow, plain = update(config(rules=rules), steps=3), update(config(), steps=3)
        for part in ("encoder", "decoder"):
            np.testing.assert_allclose(
                slow[part]["kernel"], 0.25 * plain[part]["kernel"], rtol=1e-5
            )
        np.testing.assert_array_equal(slow["encoder"]["bias"], plain["encoder"]["bias"])

    def test_weight_decay_of_a_rule_replaces_the_general_one(self) -> None:
        rules = (ParamRule(pattern=".*/bias", weight_decay=0.0),)
        ruled = update(config(weight_decay=0.5, rules=rules))
        np.testing.assert_array_equal(ruled["encoder"]["bias"], update(config())["encoder"]["bias"])
        np.testing.assert_array_equal(
            ruled["decoder"]["kernel"], update(config(weight_decay=0.5))["decoder"]["kernel"]
        )

    def test_first_match_wins(self) -> None:
        rules = (
            ParamRule(pattern="encoder/bias"),
            ParamRule(pattern="encoder/.*", frozen=True),
        )
        changes = update(config(rules=rules))
        assert np.all(changes["encoder"]["bias"])
        assert not np.any(changes["encoder"]["kernel"])

    def test_the_whole_path_must_match(self) -> None:
        rules = (ParamRule(pattern="encoder", frozen=True),)
        with pytest.raises(ConfigError, match=r"'encoder' matches no parameter; .*'\w+/\w+'"):
            update(config(rules=rules))

    def test_a_malformed_pattern_is_named(self) -> None:
        with pytest.raises(ConfigError, match=re.escape("'(' is no regular expression")):
            update(config(rules=(ParamRule(pattern="("),)))

    def test_match_gives_the_default_elsewhere(self) -> None:
        tree = match([("decoder/.*", 1)], PARAMS, 0, "here")
        assert tree == {"encoder": {"kernel": 0, "bias": 0}, "decoder": {"kernel": 1}}


def test_one_cycle_is_that_of_torch() -> None:
    """Rates, momenta and updates of AdamW under OneCycleLR, for one cycle of 40 steps."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make bench")
    total = 40
    settings = OptimizerConfig(
        learning_rate=0.1,
        warmup="cosine",
        warmup_steps=total // 4 - 1,
        start_fraction=1 / 25,
        decay="cosine",
        decay_steps=total - 1,
        final_fraction=1 / 25 / 1e4,
        b1=0.95,
        peak_b1=0.85,
        weight_decay=0.01,
    )
    tx = settings.make(PARAMS, total)
    params, state = PARAMS, tx.init(PARAMS)
    theirs = {name: torch.tensor(np.asarray(x)) for name, x in named_leaves(PARAMS).items()}
    optimizer = torch.optim.AdamW(theirs.values(), lr=0.1, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total, pct_start=0.25)
    for step in range(total):
        group = optimizer.param_groups[0]
        assert float(settings.schedule(total)(jnp.int32(step))) == pytest.approx(group["lr"])
        assert float(settings.momentum(total)(jnp.int32(step))) == pytest.approx(group["betas"][0])
        gradients = jax.tree.map(lambda g, s=step: g * jnp.cos(0.3 * s), GRADIENTS)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name, gradient in named_leaves(gradients).items():
            theirs[name].grad = torch.tensor(np.asarray(gradient))
        optimizer.step()
        if step < total - 1:
            cycle.step()
        for name, found in named_leaves(params).items():
            np.testing.assert_allclose(found, theirs[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_fraction", -0.1),
        ("final_fraction", 1.5),
        ("peak_b1", 0.85),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("warmup_steps", -1),
        ("decay_steps", 0),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
    ],
)
def test_senseless_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"optimizer\.{name}={value}"):
        OptimizerConfig(**{name: value})
