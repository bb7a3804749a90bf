"""Where our step spends its time: prefixes of the step, each compiled alone.

Three functions of the parameters end after the encoder, after the slot module and at the loss. Each
is timed by itself and with its gradient (of the sum of what it returns); a part costs the
difference of two neighbours. What the whole step takes beyond the loss with its gradient is the
optimizer, the guard and the metrics.
Compilers fuse across the cuts, so parts are good to some per cent. Operations are XLA's own count.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from slots.experiment import Experiment
from slots.models.base import example_keys
from slots.types import Context

REPEATS = 7
PRODUCT = 2048
"""Side of the square matrices whose product stands for the machine's peak."""


def breakdown(experiment: Experiment, repeats: int = REPEATS) -> dict[str, Any]:
    """Seconds and operations: `parts` name to (forward, with gradient, operations), and `peak`."""
    trainer = experiment.trainer
    state, batches = trainer.init(), trainer.batches(0)
    batch, variables = next(batches), state.variables
    batches.close()
    context = Context(step=jnp.int32(0), key=jax.random.key(0), train=True)

    def tokens(model: Any) -> Any:
        return model.encoder(model.from_image(batch.pixels))

    def slots(model: Any) -> Any:
        found = tokens(model)
        keys = example_keys(context.key, batch, len(batch.pixels))
        first, _ = model.initializer(found, keys, variables["initializer"], train=True)
        return model.module(found, model.module.complete(first.slots), keys, train=True).slots

    def loss(model: Any) -> Any:
        prediction, _ = model(batch, context, variables)
        return sum(
            term.weight * term(prediction, batch, context, model, None).mean()
            for term in experiment.config.objectives
        )

    def of_params(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda params: part(experiment.definition.bind(params))

    def total(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def summed(params: Any) -> Any:
            leaves = jax.tree.leaves(part(experiment.definition.bind(params)))
            return sum(x.sum() for x in leaves if jnp.issubdtype(x.dtype, jnp.floating))

        return jax.value_and_grad(summed)

    parts, before = {}, (0.0, 0.0, 0.0)
    named = {"encoder": tokens, "slot module": slots, "decoder and loss": loss}
    for name, part in named.items():
        forward, _ = timed(of_params(part), state.params, repeats=repeats)
        both, count = timed(total(part), state.params, repeats=repeats)
        now = (forward, both, count)
        parts[name] = [n - b for n, b in zip(now, before, strict=True)]
        before = now
    step = trainer.step().lower(state, batch).compile()
    count = operations(step)
    seconds = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        if i:
            seconds.append(time.perf_counter() - start)
    parts["optimizer, guard, metrics"] = [0.0, statistics.median(seconds) - before[1], 0.0]
    parts["whole step"] = [before[0], statistics.median(seconds), count]
    square = jnp.ones((PRODUCT, PRODUCT))
    product, _ = timed(lambda x: x @ x, square, repeats=repeats, best=True)
    return {"parts": parts, "peak": 2 * PRODUCT**3 / product}


def timed(
    function: Callable[[Any], Any], argument: Any, *, repeats: int, best: bool = False
) -> tuple[float, float]:
    """Median (or least) seconds of the compiled function, and its operations."""
    compiled = jax.jit(function).lower(argument).compile()
    seconds = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(argument))
        if i:  # the first call warms caches
            seconds.append(time.perf_counter() - start)
    return (min if best else statistics.median)(seconds), operations(compiled)


def operations(compiled: Any) -> float:
    """Floating-point operations as XLA counts them in its optimised program."""
    return float((compiled.cost_analysis() or {}).get("flops", 0.0))
