"""Checks that ours and the PyTorch model are one function before either is timed.

Both get the same parameters, pictures and first slots; PyTorch computes in float64. Compared are
loss, reconstruction and masks, and the gradient of every parameter, relative to the largest value
of each array.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from scripts.benchmark.torch_models import (
    Autoencoder,
    Dictionary,
    First,
    Frames,
    MixtureInitializer,
    views,
)
from slots.experiment import Experiment
from slots.initializers import FirstSlots
from slots.models.base import example_keys
from slots.training.rules import named_leaves
from slots.types import Batch, Context

OUTPUTS, GRADIENTS = 1e-5, 1e-4
"""Largest difference allowed, in float32, relative to the largest magnitude of the array."""

ROUNDING = 4
"""Where PyTorch's own float32 is further from its float64, ours may be so many times as far: the
axes of a nearly round attention map, which a fresh ISA-TSR has, are ill-conditioned."""

DTYPES = (torch.float64, torch.float32)


class DisagreementError(RuntimeError):
    """The two sides are not the same function, so their times mean nothing."""


def load(model: torch.nn.Module, params: Any) -> None:
    """Copies our parameters into a PyTorch model of the same architecture."""
    ours, theirs = named_leaves(params), named_leaves(views(model, lambda p: p.data))
    if ours.keys() != theirs.keys():
        raise DisagreementError(f"Parameters differ: {sorted(ours.keys() ^ theirs.keys())}")
    for name, view in theirs.items():
        if ours[name].size != view.numel():
            raise DisagreementError(f"{name}: {ours[name].shape} here, {tuple(view.shape)} there.")
        view.copy_(torch.tensor(np.asarray(ours[name])).reshape(view.shape))


def check(experiment: Experiment) -> dict[str, float]:
    """Largest relative difference of outputs and of gradients, on the first batch.

    Raises:
        DisagreementError: names what differs most.
    """
    batch = next(experiment.trainer.batches(0))
    state = experiment.trainer.init()
    ours = jax.jit(lambda params: _ours(experiment, params, state.variables, batch))(state.params)
    given = state.params, batch, ours["first"], state.variables["initializer"]
    exact, rounded = (_theirs(experiment, *given, dtype) for dtype in DTYPES)
    found = {}
    for kind, limit in (("outputs", OUTPUTS), ("gradients", GRADIENTS)):
        differences = _differences(ours[kind], exact[kind])
        rounding = _differences(rounded[kind], exact[kind])
        for name, size in differences.items():
            allowed = max(limit, ROUNDING * rounding[name])
            if not size <= allowed:
                raise DisagreementError(
                    f"{experiment.config.name}: {name} differs by {size:.1e} of its largest "
                    f"magnitude, allowed are {allowed:.0e}."
                )
        found[kind] = max(differences.values())
        found[f"{kind}_rounding"] = max(rounding.values())
    return found


def _differences(ours: dict[str, Any], exact: dict[str, Any]) -> dict[str, float]:
    """Per array the largest difference relative to the largest magnitude."""
    # Some gradients are zero but for rounding (a bias of all queries moves all logits alike).
    floor = 1e-3 * max(float(np.abs(array).max()) for array in exact.values())
    return {
        name: float(
            np.abs(np.asarray(ours[name], np.float64) - array.reshape(ours[name].shape)).max()
        )
        / max(float(np.abs(array).max()), floor)
        for name, array in exact.items()
    }


def _theirs(
    experiment: Experiment,
    params: Any,
    batch: Batch,
    first: FirstSlots,
    variables: Any,
    dtype: torch.dtype,
) -> dict[str, dict[str, Any]]:
    """Outputs and gradients of the PyTorch model by our names, in our layout."""
    model = Autoencoder(experiment.config, experiment.dataset.image_shape).to(dtype)
    load(model, params)
    for name, value in variables.get("table", {}).items():
        getattr(model.initializer, name).copy_(torch.tensor(np.asarray(value)))
    pixels = torch.tensor(np.asarray(batch.pixels)).to(dtype).permute(0, 3, 1, 2)
    loss, drawn = model.loss(pixels, _first(model, first, dtype))
    loss.backward()
    outputs = {
        "loss": loss,
        "reconstruction": drawn.mixture.permute(0, 2, 3, 1),
        "masks": drawn.masks[:, :, 0],
    }
    # What no gradient reaches (a dictionary's way in) has None.
    gradients = named_leaves(
        views(model, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
    )
    return {
        "outputs": {name: x.detach().numpy() for name, x in outputs.items()},
        "gradients": {name: x.numpy() for name, x in gradients.items()},
    }


def _ours(experiment: Experiment, params: Any, variables: Any, batch: Batch) -> dict[str, Any]:
    context = Context(step=jnp.int32(0), key=jax.random.key(0), train=True)

    def loss(params: Any) -> Any:
        model: Any = experiment.definition.bind(params)
        prediction, _ = model(batch, context, variables)
        terms = [
            term.weight * term(prediction, batch, context, model, None).mean()
            for term in experiment.config.objectives
        ]
        return sum(terms), prediction.reconstruction

    (value, drawn), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    model: Any = experiment.definition.bind(params)
    tokens = model.encoder(model.from_image(batch.pixels))
    init_key, _ = jax.random.split(context.key)  # as the model does; if not, the losses differ
    keys = example_keys(init_key, batch, len(batch.pixels))
    first, _ = model.initializer(tokens, keys, variables["initializer"], train=True)
    return {
        "outputs": {"loss": value, "reconstruction": drawn.output, "masks": drawn.masks},
        "gradients": named_leaves(gradients),
        "first": dataclasses.replace(first, slots=model.module.complete(first.slots)),
    }


def _first(model: Autoencoder, first: FirstSlots, dtype: torch.dtype) -> First:
    """Our first slots as PyTorch takes them: the Gaussian's noise is found again."""

    def tensor(x: Any) -> torch.Tensor | None:
        return None if x is None else torch.tensor(np.asarray(x)).to(dtype)

    slots: Any = first.slots
    vectors, own = tensor(slots.vectors), getattr(model.initializer, "content", model.initializer)
    if isinstance(model.initializer, MixtureInitializer):
        vectors = torch.cat([vectors, tensor(slots.extras["log_scale"])], dim=-1)
    if isinstance(own, Dictionary):
        codes = torch.tensor(np.asarray(first.diagnostics["codes"]))
        scale = (own.log_variance.detach()[codes] / 2).exp()
        vectors = (vectors - own.mean.detach()[codes]) / scale
    if hasattr(own, "log_scale"):
        vectors = (vectors - own.mean.detach()) / own.log_scale.detach().exp()
    if slots.frames is None:
        return First(vectors)
    parts = slots.frames
    return First(vectors, Frames(*map(tensor, (parts.position, parts.scale, parts.rotation))))
