"""The whole autoencoder of Invariant Slot Attention, trained: nearly equivariant to translation.

The module and the decoder's input are so exactly (tests/modules). Between them and the picture lie
zero padding, strides, a finite grid and a softmax over all of it, so that here most slots follow,
not all. A model that knows absolute positions stands beside.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots import presets
from slots.config import override
from slots.experiment import build
from slots.training import use_compilation_cache

STEP = 4  # pixels: the stride of the encoder's windows
SHIFT = 2 * STEP / 34  # the same in coordinates


def trained(*settings):
    """The compact preset after a short training: its experiment and model."""
    use_compilation_cache()
    config = override(
        presets.load("invariant_slot_attention/tetrominoes_cpu"), ["mesh.data=1", *settings]
    )
    experiment = build(config)
    state, step = experiment.trainer.init(), experiment.trainer.step()
    for _, batch in zip(range(1500), experiment.trainer.batches(0), strict=False):
        state, _ = step(state, batch)
    return experiment, experiment.definition.bind(state.eval_params)


def scenes(experiment):
    """Held-out scenes whose lowest rows are empty, and the same moved down by a token."""
    batch = next(experiment.dataset.held_out("val", 320, 320))
    images = np.asarray(batch.pixels)
    images = images[images[:, -STEP:].max((1, 2, 3)) == 0][:64]
    moved = np.zeros_like(images)
    moved[:, STEP:] = images[:, :-STEP]
    return jnp.asarray(images), jnp.asarray(moved)


def seen(model, images, shift):
    """Slots, and what is drawn, with the first frames moved by `shift`."""
    keys = jax.vmap(jax.random.key)(jnp.arange(len(images)))

    @jax.jit
    def see(images):
        tokens = model.encoder(images)
        found, _ = model.initializer(tokens, keys, {}, train=False)
        first = found.slots
        position = first.frames.position + jnp.array([shift, 0.0])[None, None]
        frames = dataclasses.replace(first.frames, position=position)
        slots = model.module.complete(dataclasses.replace(first, frames=frames))
        found = model.module(tokens, slots, keys, train=False).slots
        return found, model.decoder(found).output

    return see(images)


def change(one, other):
    """Median distance of the slots' vectors, in units of their spread."""
    spread = float(jnp.std(one.vectors))
    return float(jnp.median(jnp.sqrt(jnp.square(one.vectors - other.vectors).mean(-1)))) / spread


@pytest.mark.slow
def test_a_moved_scene_moves_frames_and_drawing():
    experiment, model = trained()
    images, moved = scenes(experiment)
    here, drawn = seen(model, images, 0.0)
    there, drawn_there = seen(model, moved, SHIFT)
    steps = there.frames.position - here.frames.position
    median = np.median(steps, axis=(0, 1))
    follow = np.square(drawn_there[:, STEP:] - drawn[:, :-STEP]).mean()
    stay = np.square(drawn_there - drawn).mean()
    np.testing.assert_allclose(median, [SHIFT, 0], atol=0.1 * SHIFT)
    assert follow < 0.3 * stay

    absolute, model = trained("model.encoder.head.position=fourier", "model.module.absolute=true")
    images, moved = scenes(absolute)
    one, _ = seen(model, images, 0.0)
    other, _ = seen(model, moved, SHIFT)
    assert change(here, there) < change(one, other)
