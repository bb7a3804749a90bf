"""Checks that ours and the PyTorch model are one function before either is timed.

Both get the same parameters, pictures and first slots; PyTorch computes in float64. Compared are
loss, reconstruction and masks, and the gradient of every parameter, relative to the largest value
of each array.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from scripts.benchmark.torch_models import Autoencoder, First, Frames, views
from slots.experiment import Experiment
from slots.models.base import example_keys
from slots.training.rules import named_leaves
from slots.types import Batch, Context

OUTPUTS, GRADIENTS = 1e-5, 1e-4
"""Largest difference allowed, in float32, relative to the largest magnitude of the array."""


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


def difference(name: str, ours: Any, theirs: torch.Tensor, floor: float = 0.0) -> tuple[str, float]:
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().numpy().astype(np.float64)
    theirs = theirs.reshape(ours.shape)
    scale = max(np.abs(theirs).max(), floor)
    return name, float(np.abs(ours - theirs).max() / scale)


def check(experiment: Experiment, frames: str = "") -> dict[str, float]:
    """Largest relative difference of outputs and of gradients, on the first batch.

    Raises:
        DisagreementError: names what differs most.
    """
    batch = next(experiment.trainer.batches(0))
    state = experiment.trainer.init()
    ours = jax.jit(lambda params: _ours(experiment, params, state.variables, batch))(state.params)

    model = Autoencoder(experiment.config, experiment.dataset.image_shape, frames).double()
    load(model, state.params)
    first = _first(model, ours["first"])
    pixels = torch.tensor(np.asarray(batch.pixels)).double().permute(0, 3, 1, 2)
    loss, drawn = model.loss(pixels, first)
    loss.backward()

    outputs = dict(
        [
            difference("loss", ours["loss"], loss),
            difference("reconstruction", ours["output"], drawn.mixture.permute(0, 2, 3, 1)),
            difference("masks", ours["masks"], drawn.masks[:, :, 0]),
        ]
    )
    theirs = named_leaves(views(model, lambda p: p.grad))
    # Some gradients are zero but for rounding (a bias of all queries moves all logits alike).
    floor = 1e-3 * max(float(gradient.abs().max()) for gradient in theirs.values())
    gradients = dict(
        difference(name, gradient, theirs[name], floor)
        for name, gradient in named_leaves(ours["gradients"]).items()
    )
    for found, allowed in ((outputs, OUTPUTS), (gradients, GRADIENTS)):
        name = max(found, key=lambda n: found[n])
        if not found[name] <= allowed:
            raise DisagreementError(
                f"{experiment.config.name}: {name} differs by {found[name]:.1e} of its largest "
                f"magnitude, allowed are {allowed:.0e}."
            )
    return {"outputs": max(outputs.values()), "gradients": max(gradients.values())}


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
    slots, _ = model.initializer(tokens, keys, variables["initializer"], train=True)
    return {
        "loss": value,
        "output": drawn.output,
        "masks": drawn.masks,
        "gradients": gradients,
        "first": model.module.complete(slots),
    }


def _first(model: Autoencoder, slots: Any) -> First:
    """Our first slots as PyTorch takes them: the Gaussian's noise is found again."""

    def double(x: Any) -> torch.Tensor | None:
        return None if x is None else torch.tensor(np.asarray(x, np.float64))

    vectors, own = double(slots.vectors), model.initializer
    if hasattr(own, "log_scale"):
        vectors = (vectors - own.mean.detach()) / own.log_scale.detach().exp()
    if slots.frames is None:
        return First(vectors)
    parts = slots.frames
    return First(vectors, Frames(*map(double, (parts.position, parts.scale, parts.rotation))))
