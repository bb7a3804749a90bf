"""A small supervised network on frozen slots, fitted to what is known of their objects."""

import dataclasses
import functools
import itertools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from slots.config import ConfigError
from slots.metrics.matching import assign
from slots.nn.initial import lecun

HIDDEN = 256
"""Width of the MLP."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What is probed and how the probe is fitted."""

    kind: Literal["linear", "mlp"] = "linear"
    """`mlp` has one hidden layer of 256 with GELU, shared by all properties."""
    matching: Literal["masks", "loss"] = "masks"
    """Which slot is an object's: by the IoU of hard masks, or the one of which the probe says what
    is nearest to the truth, which needs no label maps and flatters."""
    masks: Literal["decoder", "attention"] = "decoder"
    """Whose, for `matching=masks`."""
    properties: tuple[str, ...] | None = None
    """Those to probe; null for all. All are told by one probe, whose loss is the sum of theirs."""
    train: int = 4000
    """Examples of the training stream, at most as many as there are."""
    test: int = 320
    """First so many examples of the held-out split, at most as many as there are."""
    steps: int = 2000
    batch: int = 64
    """Examples a step."""
    learning_rate: float = 0.01
    """Adam's, falling to 0 as a cosine."""
    seed: int = 0
    l2: float = 1e-4
    """Weight of the sum of squares of all kernels."""

    def __post_init__(self) -> None:
        for name in ("train", "test", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.learning_rate <= 0 or self.l2 < 0:
            raise ConfigError(
                f"learning_rate={self.learning_rate} must be above 0, l2={self.l2} not below."
            )
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} must be at least 0 and below 2**32.")


class Head(NamedTuple):
    """Which of the probe's numbers are a property's."""

    start: int
    stop: int
    categorical: bool


class Examples(NamedTuple):
    """What a probe is fitted on: N pictures with K slots and M objects of P properties."""

    slots: Float[Array, "n k s"]
    """Standardised."""
    slot: Int[Array, "n m"]
    """Of each object by masks; -1 = none."""
    objects: Bool[Array, "n m"]
    targets: Float[Array, "n m o"]
    """One-hot classes and standardised numbers, side by side as heads say."""
    known: Bool[Array, "n m p"]
    """Properties of objects that have a target."""


Layers = list[dict[str, Array]]
Heads = tuple[Head, ...]


@functools.partial(jax.jit, static_argnames=("heads", "config"))
def fit(examples: Examples, heads: Heads, config: ProbeConfig) -> Layers:
    """The probe after `config.steps` steps of Adam on batches drawn with replacement."""
    widths = [examples.slots.shape[-1], *([HIDDEN] * (config.kind == "mlp")), heads[-1].stop]
    init_key, draw_key = jax.random.split(jax.random.key(config.seed))
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))

    def step(state: tuple[Layers, Any], key: Key[Array, ""]) -> tuple[tuple[Layers, Any], None]:
        layers, memory = state
        rows = jax.random.randint(key, (config.batch,), 0, len(examples.slots))
        part = jax.tree.map(lambda x: x[rows], examples)
        gradient = jax.grad(_loss)(layers, part, heads, config)
        # optax 0.2.8 raises a float to an integer count, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            changes, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(layers, changes), memory), None

    layers = _init(init_key, widths)
    keys = jax.random.split(draw_key, config.steps)
    return jax.lax.scan(step, (layers, optimizer.init(layers)), keys)[0][0]


@functools.partial(jax.jit, static_argnames=("heads", "config"))
def answer(
    layers: Layers, examples: Examples, heads: Heads, config: ProbeConfig
) -> tuple[Int[Array, "n m"], Float[Array, "n m o"]]:
    """The slot of each object (-1 = none), and what the probe says of that slot."""
    told = apply(layers, examples.slots)
    slot = _matched(_losses(told, examples, heads), examples, config)
    return slot, jnp.take_along_axis(told, jnp.maximum(slot, 0)[..., None], axis=1)


def apply(layers: Layers, x: Float[Array, "b k s"]) -> Float[Array, "b k o"]:
    """Linear layers with GELU in between."""
    for number, layer in enumerate(layers):
        x = jax.nn.gelu(x, approximate=False) if number else x
        x = jnp.matmul(x, layer["kernel"], precision="highest") + layer["bias"]
    return x


def _init(key: Key[Array, ""], widths: list[int]) -> Layers:
    pairs = list(itertools.pairwise(widths))
    keys = jax.random.split(key, len(pairs))
    return [
        {"kernel": lecun(k, pair, jnp.float32), "bias": jnp.zeros((1, 1, pair[1]))}
        for k, pair in zip(keys, pairs, strict=True)
    ]


def _loss(
    layers: Layers, examples: Examples, heads: Heads, config: ProbeConfig
) -> Float[Array, ""]:
    """Sum over properties of their mean loss over objects that have a slot."""
    losses = _losses(apply(layers, examples.slots), examples, heads)
    slot = _matched(losses, examples, config)
    own = jnp.take_along_axis(losses, jnp.maximum(slot, 0)[..., None, None], axis=2)[:, :, 0]
    counted = (examples.known & (slot >= 0)[..., None]).astype(jnp.float32)
    means = (own * counted).sum((0, 1)) / jnp.maximum(counted.sum((0, 1)), 1)
    squares = sum(jnp.square(layer["kernel"]).sum() for layer in layers)
    return means.sum() + config.l2 * squares


def _losses(
    told: Float[Array, "b k o"], examples: Examples, heads: Heads
) -> Float[Array, "b m k p"]:
    """Of every slot against every object: cross-entropy of classes, squared error of numbers.

    Each is 0 where a property has no target.
    """
    losses = []
    for number, head in enumerate(heads):
        span = slice(head.start, head.stop)
        said, true = told[:, None, :, span], examples.targets[:, :, None, span]
        if head.categorical:
            loss = -(jax.nn.log_softmax(said) * true).sum(axis=-1)
        else:
            loss = jnp.square(said - true).mean(axis=-1)
        losses.append(jnp.where(examples.known[:, :, None, number], loss, 0))
    return jnp.stack(losses, axis=-1)


def _matched(
    losses: Float[Array, "b m k p"], examples: Examples, config: ProbeConfig
) -> Int[Array, "b m"]:
    """The slot of each object: by masks, or in the assignment of least loss."""
    if config.matching == "masks":
        return examples.slot
    count = losses.shape[2]
    cost = jnp.nan_to_num(jax.lax.stop_gradient(losses).sum(axis=-1), nan=1e6, posinf=1e6)
    # Every object is worth more with a slot than without; what is no object is worth nothing.
    gain = cost.max(axis=(1, 2), keepdims=True) + 1 - cost
    slot = assign(jnp.where(examples.objects[..., None], gain, 0))
    return jnp.where(examples.objects & (slot < count), slot, -1)
