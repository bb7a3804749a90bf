"""One optimizer update as a pure function: state and batch in, state and metrics out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree, ScalarLike

from slots.models import Definition
from slots.objectives import ObjectiveConfig
from slots.training.optim import OptimizerConfig
from slots.types import Batch, Context, TrainState

Metrics = dict[str, Float[Array, ""]]


def init_state(
    definition: Definition, optimizer: OptimizerConfig, total_steps: int, key: Key[Array, ""]
) -> TrainState:
    """A fresh state; run it inside `jit` with output shardings, so that it is born in place."""
    params, variables = definition.init(key)
    tx = optimizer.make(params, total_steps)
    ema = None
    if optimizer.ema_decay is not None:
        # In bfloat16 a step of 1e-3 would never move the average.
        ema = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    return TrainState(
        params=params,
        variables=variables,
        opt_state=tx.init(params),
        ema=ema,
        step=jnp.int32(0),
        skipped=jnp.int32(0),
    )


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """`step(state, batch, seed) -> (state, metrics)`; jit it with explicit shardings.

    Every draw comes from (seed, step, example). A loss or gradient that is not finite leaves the
    whole state as it was, but for the step and the `skipped` counter.
    """

    definition: Definition
    objectives: Sequence[ObjectiveConfig]
    optimizer: OptimizerConfig
    total_steps: int
    accumulate: int = 1
    """Micro-batches per update, run one after the other; gradients are averaged."""

    def __call__(
        self, state: TrainState, batch: Batch, seed: ScalarLike
    ) -> tuple[TrainState, Metrics]:
        """One update: the new state, and loss, terms, gradient norm and learning rate."""
        (variables, metrics), gradients = self._gradients(state, batch, self._context(state, seed))
        tx = self.optimizer.make(state.params, self.total_steps)
        # optax 0.2.8 raises a float to an integer count, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        decay = self.optimizer.ema_decay
        if decay is not None:
            ema = jax.tree.map(
                lambda old, new: decay * old + (1 - decay) * new.astype(jnp.float32), ema, params
            )
        norm = optax.tree.norm(gradients)
        ok = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)

        def keep(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda n, o: jnp.where(ok, n, o), new, old)

        new_state = TrainState(
            params=keep(params, state.params),
            variables=keep(variables, state.variables),
            opt_state=keep(opt_state, state.opt_state),
            ema=keep(ema, state.ema),
            step=state.step + 1,
            skipped=state.skipped + jnp.where(ok, 0, 1),
        )
        if self._trains_first_slots(state.params):
            metrics["slot_init_gradient"] = optax.tree.norm(gradients["initializer"])
        metrics |= {
            "grad_norm": norm,
            "learning_rate": self.optimizer.schedule(self.total_steps)(state.step),
        }
        return new_state, metrics

    def gradients(self, state: TrainState, batch: Batch, seed: ScalarLike) -> PyTree:
        """Of the parameters, as the update gets them."""
        return self._gradients(state, batch, self._context(state, seed))[1]

    def _context(self, state: TrainState, seed: ScalarLike) -> Context:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        return Context(step=state.step, key=key, train=True)

    def _trains_first_slots(self, params: PyTree) -> bool:
        """Whether there are parameters of first slots, none of them frozen."""
        own = params.get("initializer", {})
        frozen = self.optimizer.frozen(params) if self.optimizer.rules else {}
        return (
            self.definition.bind(params).trains_first_slots
            and bool(jax.tree.leaves(own))
            and not any(jax.tree.leaves(frozen.get("initializer", {})))
        )

    def _gradients(
        self, state: TrainState, batch: Batch, context: Context
    ) -> tuple[tuple[PyTree, Metrics], PyTree]:
        """Variables, metrics and the mean gradient over the micro-batches."""
        compute = jax.value_and_grad(self._loss, has_aux=True)
        if self.accumulate == 1:
            (_, aux), gradients = compute(state.params, state.variables, batch, context)
            return aux, gradients
        count = self.accumulate
        # Every count-th example goes to the same micro-batch: each stays split over the devices.
        micro = jax.tree.map(
            lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch
        )

        def body(carry: Any, batch: Batch) -> tuple[Any, Metrics]:
            variables, total = carry
            (_, (variables, metrics)), gradients = compute(state.params, variables, batch, context)
            return (variables, jax.tree.map(jnp.add, total, gradients)), metrics

        # The sum is carried: stacked gradients would take the memory that micro-batches save.
        zeros = jax.tree.map(jnp.zeros_like, state.params)
        # XLA's CPU backend (jax 0.10) takes 50 times as long for convolutions inside a loop. Out of
        # it, it keeps the activations of all micro-batches, so no memory is saved there.
        flat = jax.default_backend() == "cpu"
        start = (state.variables, zeros)
        (variables, total), stacked = jax.lax.scan(body, start, micro, unroll=flat)
        gradients = jax.tree.map(lambda x: x / count, total)
        metrics = jax.tree.map(lambda x: x.mean(axis=0), stacked)
        return (variables, metrics), gradients

    def _loss(
        self, params: PyTree, variables: PyTree, batch: Batch, context: Context
    ) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
        if self.optimizer.rules:
            frozen = self.optimizer.frozen(params)
            params = jax.tree.map(
                lambda x, stop: jax.lax.stop_gradient(x) if stop else x, params, frozen
            )
        model = self.definition.bind(params)
        prediction, variables = model(batch, context, variables)
        metrics: dict[str, Any] = {}
        total = jnp.float32(0)
        for term in self.objectives:
            values = term(prediction, batch, context, model, None)
            metrics[term.kind] = values.mean()
            total = total + term.weight * metrics[term.kind]
        # What parts say about a batch or a picture in one number, such as how a dictionary is used.
        for name, value in prediction.grouping.diagnostics.items():
            if value.ndim <= 1:
                metrics[f"diagnostics/{name}"] = value.astype(jnp.float32).mean()
        return total, (variables, metrics | {"loss": total})


Compiled = Callable[[Any, Any], tuple[Any, Any]]
"""State and batch to new state and metrics, of one member or of all."""
