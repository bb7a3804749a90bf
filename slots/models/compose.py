"""New scenes from the entries of a grounded slot dictionary (CoSA: Kori et al., ICLR 2024)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from slots.config import ConfigError
from slots.models.base import Model
from slots.models.image import ImageModel
from slots.nn import precise
from slots.types import Grouping, Reconstruction, Slots, Tokens

NOISE = 0.05
"""Length of the noise on a token, relative to the mean length of tokens. (The release multiplies
by the sum of all magnitudes, which drowns the signal.)"""


def dictionary(model: Model) -> Any:
    """The dictionary that an image model's slots come from.

    Raises:
        ConfigError: the model has none, or draws no pictures.
    """
    if isinstance(model, ImageModel) and model.initializer.num_entries:
        return model.initializer
    raise ConfigError("Scenes are composed by an image model with model.initializer=dictionary.")


def seen_codes(codes: Int[Array, "n k"], size: int) -> Bool[Array, "entries"]:
    """Which of a dictionary's `size` entries pictures used: what to compose from."""
    return jax.nn.one_hot(codes, size, dtype=bool).any(axis=(0, 1))


def compose(
    model: ImageModel,
    variables: dict[str, Any],
    places: Tokens,
    allowed: Bool[Array, "entries"],
    keys: Key[Array, "b"],
) -> tuple[Grouping, Reconstruction, Int[Array, "b n"]]:
    """Scenes of entries drawn at random: one for each token, and a slot for each of the first K.

    Args:
        model: whose initializer is a dictionary.
        variables: of the run (`run.state.variables`).
        places: tokens of any picture, for where tokens lie.
        allowed: entries to draw from, as `seen_codes` finds them.
        keys: one per scene.

    Returns:
        The grouping, what is drawn, and the code of each token.

    Raises:
        ConfigError: the model has no dictionary.
    """
    source, own = dictionary(model), variables["initializer"]
    count = places.positions.shape[1]
    code_keys, noise_keys, value_keys, module_keys = jnp.unstack(
        jax.vmap(lambda key: jax.random.split(key, 4))(keys), axis=1
    )
    share = jnp.where(allowed, 0.0, -jnp.inf)
    codes = jax.vmap(lambda key: jax.random.categorical(key, share, shape=(count,)))(code_keys)
    chosen = jax.nn.one_hot(codes, len(allowed))
    content = _noisy(source.express(chosen, own["table"]), noise_keys)
    tokens = model.encoder.head(content, places.positions[0])
    vectors = source.draw(codes[:, : source.num_slots], value_keys, own)
    slots = model.module.complete(Slots(vectors=vectors))
    grouping = model.module(tokens, slots, module_keys, train=False)
    return grouping, model.decoder(grouping.slots), codes


def _noisy(content: Float[Array, "b n c"], keys: Key[Array, "b"]) -> Float[Array, "b n c"]:
    shape = content.shape[1:]
    length = jnp.linalg.norm(content.astype(precise(content)), axis=-1).mean()
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
    return content + (NOISE * length / shape[-1] ** 0.5 * noise).astype(content.dtype)
