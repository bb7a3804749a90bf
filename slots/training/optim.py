"""Optimizer, schedule and parameter groups, all from optax."""

import dataclasses
import functools
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

    lr(t) = learning_rate · warmup(t) · decay(t), t counted from 0.
    """

    learning_rate: float = 4e-4
    warmup_steps: int = 10_000
    warmup: Literal["linear", "cosine"] = "linear"
    """From `start_fraction` at step 0 to 1 at `warmup_steps`, in a line or by half a cosine."""
    start_fraction: float = 0.0
    decay: Literal["constant", "exponential", "cosine"] = "exponential"
    """`exponential`: decay_rate^(t / decay_steps), also during warm-up (Locatello et al. 2020);
    `cosine`: half a cosine from the end of warm-up to `decay_steps`."""
    decay_rate: float = 0.5
    decay_steps: int | None = 100_000
    """None: `train.steps`."""
    final_fraction: float = 0.0
    """Of the learning rate, at the end of the cosine."""
    b1: float = 0.9
    peak_b1: float | None = None
    """`b1` when the learning rate is highest; it moves towards it as the rate rises, and back as it
    falls (the one-cycle policy of Smith & Topin 2018). Wants `decay=cosine`. None: `b1` stays."""
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
        for name in ("start_fraction", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)} must be in [0, 1].")
        if self.peak_b1 is not None and self.decay != "cosine":
            raise ConfigError(f"optimizer.peak_b1={self.peak_b1} wants optimizer.decay=cosine.")
        if self.decay_steps is not None and self.decay_steps < 1:
            raise ConfigError(f"optimizer.decay_steps={self.decay_steps} must be at least 1.")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"optimizer.clip_norm={self.clip_norm} must be above 0, or null.")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ConfigError(f"optimizer.ema_decay={self.ema_decay} must be in [0, 1), or null.")

    def schedule(self, total_steps: int) -> optax.Schedule:
        """Learning rate as a function of the step."""

        def learning_rate(step: jax.Array) -> jax.Array:
            step = jnp.float32(step)  # optax divides counts, which strict promotion refuses
            rise = self.start_fraction + (1 - self.start_fraction) * self._risen(step)
            fall: jax.Array | float = 1.0
            if self.decay == "cosine":
                left = self._left(step, total_steps)
                fall = self.final_fraction + (1 - self.final_fraction) * left
            elif self.decay == "exponential":
                steps = self.decay_steps or total_steps
                fall = optax.exponential_decay(1.0, steps, self.decay_rate)(step)
            return jnp.float32(self.learning_rate * rise * fall)

        return learning_rate

    def momentum(self, total_steps: int) -> optax.Schedule:
        """Adam's `b1` as a function of the step."""

        def b1(step: jax.Array) -> jax.Array:
            step = jnp.float32(step)
            peak = self.b1 if self.peak_b1 is None else self.peak_b1
            away = 2 - self._risen(step) - self._left(step, total_steps)
            return jnp.float32(peak + (self.b1 - peak) * away)

        return b1

    def _risen(self, step: jax.Array) -> jax.Array | float:
        """How much of the warm-up is done, 0 to 1."""
        if not self.warmup_steps:
            return 1.0
        part = jnp.minimum(step / self.warmup_steps, 1.0)
        return part if self.warmup == "linear" else jnp.sin(jnp.pi / 2 * part) ** 2

    def _left(self, step: jax.Array, total_steps: int) -> jax.Array:
        """How much of the cosine after the warm-up is left, 1 to 0."""
        length = max((self.decay_steps or total_steps) - self.warmup_steps, 1)
        part = jnp.clip((step - self.warmup_steps) / length, 0.0, 1.0)
        return jnp.cos(jnp.pi / 2 * part) ** 2

    def make(self, params: PyTree, total_steps: int) -> optax.GradientTransformation:
        """The transformation for `params` (arrays or abstract shapes).

        Raises:
            ConfigError: a rule matches nothing.
        """
        schedule = self.schedule(total_steps)
        adam = functools.partial(optax.scale_by_adam, b2=self.b2, eps=self.epsilon)
        if self.peak_b1 is None:
            moments = adam(b1=self.b1)
        else:
            moments = optax.inject_hyperparams(adam)(b1=self.momentum(total_steps))

        def group(rule: ParamRule | None) -> optax.GradientTransformation:
            if rule is not None and rule.frozen:
                return optax.set_to_zero()
            factor = 1.0 if rule is None else rule.learning_rate
            decay = self.weight_decay
            if rule is not None and rule.weight_decay is not None:
                decay = rule.weight_decay
            parts = [moments]
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
