"""Small settings of every registered part, for tests that walk the families.

A part that needs no entry here is taken with its defaults.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from slots.decoders import DecoderConfig
from slots.encoders import EncoderConfig
from slots.initializers import InitializerConfig
from slots.models import Definition, ImageModelConfig, ReasoningConfig, SetPredictionConfig
from slots.modules import SlotModuleConfig
from slots.objectives import ReconstructionConfig
from slots.types import Batch, Context

from .filled import fill

SHAPE = (16, 16, 3)
NUM_SLOTS = 3

SMALL = {
    EncoderConfig: {
        "cnn": {"channels": (6, 8), "strides": (2, 1), "kernel_size": 3},
        "resnet": {"depth": 18, "width_multiplier": 1 / 32, "num_groups": 2},
        "windows": {"window": 6, "hidden": 8, "features": 8},
    },
    InitializerConfig: {
        "dictionary": {"size": 5, "key_dim": 4},
        "learned": {"scale": 0.5},
    },
    SlotModuleConfig: {
        "explicit_statistics": {"num_iterations": 2, "mlp_hidden": 8, "grid_hidden": 8},
        "invariant_slot_attention": {
            "variant": "tsr",
            "num_iterations": 2,
            "mlp_hidden": 8,
            "grid_hidden": 8,
        },
        # A short step towards less entropy: the default one magnifies rounding a thousandfold, and
        # ends in plans so sharp that hardly a gradient passes.
        "mesh": {
            "num_iterations": 2,
            "mlp_hidden": 8,
            "marginal_hidden": 8,
            "mesh_steps": 2,
            "mesh_sweeps": 3,
            "mesh_rate": 0.25,
        },
        "slot_attention": {"num_iterations": 2, "mlp_hidden": 8},
        "slot_mixture": {"num_iterations": 2, "mlp_hidden": 8},
    },
    DecoderConfig: {
        "broadcast": {"channels": (6, 6), "strides": (4, 1), "kernel_size": 3},
        "mlp": {"hidden": (8, 8), "patch_size": 4, "background": True},
    },
}


def small(family, kind):
    """Settings of one part, small where the table above says how."""
    return family.kinds[kind](**SMALL[family].get(kind, {}))


def small_model(
    encoder="windows", initializer="gaussian", module="slot_attention", decoder="mlp", **settings
):
    return ImageModelConfig(
        encoder=small(EncoderConfig, encoder),
        initializer=small(InitializerConfig, initializer),
        module=small(SlotModuleConfig, module),
        decoder=small(DecoderConfig, decoder),
        **{"num_slots": NUM_SLOTS, "slot_dim": 8, **settings},
    )


def small_set_model(module="slot_attention", **settings):
    return SetPredictionConfig(
        encoder=small(EncoderConfig, "windows"),
        initializer=small(InitializerConfig, "gaussian"),
        module=small(SlotModuleConfig, module),
        **{"num_slots": NUM_SLOTS, "slot_dim": 8, "layout": "shapes", "hidden": 8, **settings},
    )


def small_reasoning(initializer="gaussian", module="slot_attention", **settings):
    return ReasoningConfig(
        encoder=small(EncoderConfig, "windows"),
        initializer=small(InitializerConfig, initializer),
        module=small(SlotModuleConfig, module),
        **{"num_slots": NUM_SLOTS, "slot_dim": 8, "classes": 5, "hidden": 8, **settings},
    )


def digits(size, count=NUM_SLOTS - 1):
    """Digits in each picture, and a class of each."""
    rng = np.random.default_rng(0)
    return {
        "properties": {"digit": jnp.asarray(rng.integers(1, 11, (size, count)), jnp.int32)},
        "label": jnp.asarray(rng.integers(0, 5, size), jnp.int32),
    }


def objects(size, count=NUM_SLOTS):
    """Properties of a few objects in each picture, the last of them missing."""
    rng = np.random.default_rng(0)
    there = np.arange(count)[None] < np.full((size, 1), count - 1)
    classes = {"size": 2, "shape": 3, "color": 8}
    found = {n: rng.integers(1, c + 1, (size, count)) * there for n, c in classes.items()}
    place = rng.uniform(-3, 3, (size, count, 2)) * there[..., None]
    return {n: jnp.asarray(x, jnp.int32) for n, x in found.items()} | {
        "position": jnp.asarray(place, jnp.float32)
    }


@functools.cache
def defined(config, shape=SHAPE):
    """A model's definition and random parameters for it.

    Random, because what starts at zero would hide the gradient of what it multiplies.
    """
    definition = Definition.of(config, shape)
    params, _ = jax.eval_shape(definition.init, jax.random.key(0))
    return definition, fill(params)


def scenes(*index, shape=SHAPE):
    """A batch of pictures that depend on their record numbers alone."""
    pictures = [np.random.default_rng(i).uniform(0, 1, shape) for i in index]
    return Batch(
        image=jnp.asarray(np.stack(pictures), jnp.float32),
        index=jnp.asarray(index, jnp.int32),
    )


def context(seed=0, train=True):
    return Context(step=jnp.int32(0), key=jax.random.key(seed), train=train)


def predictor(config, shape=SHAPE, train=True):
    """`predict(params, batch)` of a model, and random parameters for it."""
    definition, params = defined(config, shape)
    variables = definition.bind(params).init_variables(jax.random.key(0))

    def predict(params, batch):
        return definition.bind(params)(batch, context(train=train), variables)[0]

    return predict, params


def objective(config, batch):
    """The reconstruction loss of a model as a function of its parameters, and random ones."""
    definition, _ = defined(config)
    predict, params = predictor(config)
    term = ReconstructionConfig()

    def loss(params):
        prediction, model = predict(params, batch), definition.bind(params)
        return term(prediction, batch, context(), model, None).mean(), prediction

    return loss, params
