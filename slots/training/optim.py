"""Optimizer, schedule and parameter groups, all from optax."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from slots.config import ConfigError
from slots.training.rules import match


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParamRule:
    """How the parameters whose whole path matches `pattern` train."""

    pattern: str
    """Regular expression, e.g. `encoder/.*`."""
    frozen: bool = False
    """No gradient, no update."""
    learning_rate: float = 1.0
    """Factor on the schedule."""
    weight_decay: float | None = None
    """In place of the optimizer's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam (Kingma & Ba 2015), with decoupled weight decay where it is above 0.

    lr(t) = learning_rate · min(1, t / warmup_steps) · decay(t), t counted from 0.
    """

    learning_rate: float = 4e-4
    warmup_steps: int = 10_000
    decay: Literal["constant", "exponential", "cosine"] = "exponential"
    """`exponential`: decay_rate^(t / decay_steps), also during warm-up (Locatello et al. 2020);
    `cosine`: half a cosine from the end of warm-up to `decay_steps`."""
    decay_rate: float = 0.5
    decay_steps: int | None = 100_000
    """None: `train.steps`."""
    final_fraction: float = 0.0
    """Of the learning rate, at the end of the cosine."""
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """Global norm that gradients are clipped to, before Adam."""
    ema_decay: float | None = None
    """Keeps a moving average of the parameters, which is then what is evaluated."""
    rules: tuple[ParamRule, ...] = ()
    """First match wins; a rule that matches nothing is an error."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ConfigError(f"optimizer.learning_rate={self.learning_rate} must be above 0.")
        if self.warmup_steps < 0:
            raise ConfigError(f"optimizer.warmup_steps={self.warmup_steps} must not be negative.")
        if self.decay_steps is not None and self.decay_steps < 1:
            raise ConfigError(f"optimizer.decay_steps={self.decay_steps} must be at least 1.")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"optimizer.clip_norm={self.clip_norm} must be above 0, or null.")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ConfigError(f"optimizer.ema_decay={self.ema_decay} must be in [0, 1), or null.")

    def schedule(self, total_steps: int) -> optax.Schedule:
        """Learning rate as a function of the step."""
        steps = self.decay_steps or total_steps
        if self.decay == "cosine":
            length = max(steps - self.warmup_steps, 1)
            cosine = optax.cosine_decay_schedule(1.0, length, self.final_fraction)

            def decay(step: jax.Array) -> jax.Array:
                return cosine(jnp.maximum(step - self.warmup_steps, 0))

        elif self.decay == "exponential":
            decay = optax.exponential_decay(1.0, steps, self.decay_rate)
        else:
            decay = optax.constant_schedule(1.0)
        warmup = optax.linear_schedule(0.0, 1.0, self.warmup_steps)  # 0 steps: 1 from the start

        def learning_rate(step: jax.Array) -> jax.Array:
            step = jnp.float32(step)  # optax divides counts, which strict promotion refuses
            factor = warmup(step) if self.warmup_steps else 1.0
            return jnp.float32(self.learning_rate * factor * decay(step))

        return learning_rate

    def make(self, params: PyTree, total_steps: int) -> optax.GradientTransformation:
        """The transformation for `params` (arrays or abstract shapes).

        Raises:
            ConfigError: a rule matches nothing.
        """
        schedule = self.schedule(total_steps)

        def group(rule: ParamRule | None) -> optax.GradientTransformation:
            if rule is not None and rule.frozen:
                return optax.set_to_zero()
            factor = 1.0 if rule is None else rule.learning_rate
            decay = self.weight_decay
            if rule is not None and rule.weight_decay is not None:
                decay = rule.weight_decay
            parts = [optax.scale_by_adam(self.b1, self.b2, self.epsilon)]
            if decay:
                parts.append(optax.add_decayed_weights(decay))
            parts.append(optax.scale_by_learning_rate(lambda step: factor * schedule(step)))
            return optax.chain(*parts)

        if self.rules:
            groups = {str(i): group(rule) for i, rule in enumerate(self.rules)} | {"": group(None)}
            pairs = [(rule.pattern, str(i)) for i, rule in enumerate(self.rules)]
            labels = match(pairs, params, "", "optimizer.rules")
            update = optax.partition(groups, labels)
        else:
            update = group(None)
        if self.clip_norm is None:
            return update
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), update)

    def frozen(self, params: PyTree) -> PyTree:
        """True at each parameter that takes no gradient."""
        pairs = [(rule.pattern, rule.frozen) for rule in self.rules]
        return match(pairs, params, False, "optimizer.rules")
