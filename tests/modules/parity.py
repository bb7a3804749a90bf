"""What the parity tests of slot modules share."""

import jax
import jax.numpy as jnp
from contracts.filled import quick_jit

from slots.types import Slots, Tokens

ALONE = (1, 0)  # a grid that is never read


def module(config, feature_dim, slot_dim):
    def make(rngs):
        return config.make(feature_dim=feature_dim, slot_dim=slot_dim, scale_factor=1.0, rngs=rngs)

    return make


def grouping_with_gradients(bind, params, tokens, first, cotangent, *, extras=None, train=True):
    """The grouping, and gradients of sum(slots · cotangent) to weights, tokens and first slots."""

    def loss(params, tokens, first):
        places = jnp.zeros((*tokens.shape[:2], 2))
        tokens = Tokens(features=tokens, positions=places, grid=ALONE)
        bound = bind(params)
        slots = bound.complete(Slots(vectors=first, extras=extras or {}))
        grouping = bound(tokens, slots, keys_of(len(first)), train=train)
        return jnp.vdot(grouping.slots.vectors, cotangent), grouping

    compute = quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, grouping), gradients = compute(params, tokens, first)
    return grouping, gradients


def keys_of(size):
    return jax.random.split(jax.random.key(0), size)


def draw_stored(monkeypatch, noise, derive=lambda keys: keys):
    """Makes each example's normal draws the stored ones, and returns the keys that do so.

    `derive` makes the keys that are drawn with of those that the part is called with.
    """
    keys = keys_of(len(noise))
    data = jax.random.key_data(derive(keys))

    def stored_noise(key, shape):  # found by the key
        chosen = (data == jax.random.key_data(key)[None]).all(axis=-1)
        found = jnp.einsum("b,b...->...", chosen.astype(jnp.float32), noise)
        assert found.shape == tuple(shape)
        return found

    monkeypatch.setattr(jax.random, "normal", stored_noise)
    return keys
