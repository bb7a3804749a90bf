import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from slots.types import (
    Batch,
    Context,
    Frames,
    Grouping,
    Prediction,
    Reconstruction,
    Slots,
    Tokens,
    TrainState,
    noun,
    static,
)

B, N, K, D, S = 2, 6, 3, 5, 4
TOKENS = {"features": jnp.zeros((B, N, D)), "positions": jnp.zeros((B, N, 2)), "grid": (2, 3)}
SLOTS = {"vectors": jnp.zeros((B, K, S))}
FRAMES = {
    "position": jnp.zeros((B, K, 2)),
    "scale": jnp.zeros((B, K, 2)),
    "rotation": jnp.zeros((B, K, 2, 2)),
}
RECONSTRUCTION = {
    "output": jnp.zeros((B, 4, 4, 3)),
    "masks": jnp.zeros((B, K, 4, 4)),
    "parts": jnp.zeros((B, K, 4, 4, 3)),
}
BATCH = {
    "image": jnp.zeros((B, 4, 4, 3)),
    "segmentation": jnp.zeros((B, 8, 8), jnp.int32),
    "ignore": jnp.zeros((B, 8, 8), bool),
    "semantic": jnp.zeros((B, 8, 8), jnp.int32),
    "properties": {"x": jnp.zeros((B, 5)), "seen": jnp.zeros(B)},
    "visibility": jnp.zeros((B, 5), bool),
    "num_objects": jnp.zeros(B, jnp.int32),
    "label": jnp.zeros(B, jnp.int32),
    "index": jnp.arange(B),
}


def nouns():
    tokens, slots = Tokens(**TOKENS), Slots(**SLOTS, frames=Frames(**FRAMES))
    grouping = Grouping(slots=slots, attention=jnp.zeros((B, K, N)), losses={"a": jnp.zeros(B)})
    return {
        "batch": Batch(**BATCH),
        "tokens": tokens,
        "slots": slots,
        "grouping": grouping,
        "prediction": Prediction(
            tokens=tokens,
            grouping=grouping,
            reconstruction=Reconstruction(**RECONSTRUCTION),
            target=None,
        ),
        "context": Context(step=jnp.int32(3), key=jax.random.key(0), train=True),
        "state": TrainState(
            params={"w": jnp.ones(2)},
            variables={},
            opt_state=(),
            ema=None,
            step=jnp.int32(0),
            skipped=jnp.int32(0),
        ),
    }


@pytest.mark.parametrize("name", nouns())
def test_nouns_are_pytrees(name):
    before = nouns()[name]
    leaves, structure = jax.tree.flatten(before)
    assert leaves
    after = jax.tree.unflatten(structure, leaves)
    assert type(after) is type(before)
    for field in dataclasses.fields(before):
        assert getattr(after, field.name) is getattr(before, field.name) or isinstance(
            getattr(before, field.name), dict | Tokens | Slots | Grouping | Reconstruction | Frames
        )
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(before)]
    assert all(path.startswith(".") for path in paths)  # leaves are named by their fields


@pytest.mark.parametrize("name", nouns())
def test_unflattening_runs_no_checks(name):
    before = nouns()[name]
    placeholders = jax.tree.map(lambda _: "anything", before)
    assert set(jax.tree.leaves(placeholders)) == {"anything"}
    jax.tree.map(lambda _: None, before)


def test_nouns_cross_jit_grad_and_scan():
    def loss(slots):
        slots, _ = jax.lax.scan(
            lambda s, _: (dataclasses.replace(s, vectors=2 * s.vectors), None), slots, length=2
        )
        return jnp.square(slots.vectors).sum()

    gradient = jax.jit(jax.grad(loss))(Slots(vectors=jnp.ones((B, K, S))))
    assert_array_equal(gradient.vectors, np.full((B, K, S), 32.0))
    assert gradient.active is None


def test_static_fields_are_structure():
    one, other = Tokens(**TOKENS), Tokens(**{**TOKENS, "grid": (1, 6)})
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert len(jax.tree.leaves(one)) == 2
    traced = []

    @jax.jit
    def rows(tokens):
        traced.append(tokens.grid)
        return tokens.features * tokens.grid[0]

    rows(one), rows(one), rows(other)
    assert traced == [(2, 3), (1, 6)]


def test_nouns_are_frozen_and_keyword_only():
    slots = Slots(**SLOTS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        slots.vectors = None
    with pytest.raises(TypeError):
        Slots(SLOTS["vectors"])


def test_static_may_have_a_default():
    @noun
    class Thing:
        value: float
        name: str = static(default="thing")

    thing = jax.tree.map(lambda x: x + 1, Thing(value=1.0))
    assert (thing.value, thing.name) == (2.0, "thing")


def test_dictionaries_are_not_shared():
    assert Slots(**SLOTS).extras is not Slots(**SLOTS).extras


@pytest.mark.parametrize(
    ("cls", "fields", "wrong"),
    [
        (Tokens, TOKENS, {"features": jnp.zeros((B, N))}),
        (Tokens, TOKENS, {"positions": jnp.zeros((B, N + 1, 2))}),
        (Tokens, TOKENS, {"positions": jnp.zeros((B, N, 3))}),
        (Tokens, TOKENS, {"mask": jnp.zeros((B, N))}),
        (Tokens, TOKENS, {"features": jnp.zeros((B, N, D), jnp.int32)}),
        (Slots, SLOTS, {"active": jnp.zeros((B, K + 1), bool)}),
        (Slots, SLOTS, {"extras": {"x": jnp.zeros(B + 1)}}),
        (Frames, FRAMES, {"rotation": jnp.zeros((B, K, 2))}),
        (Frames, FRAMES, {"scale": jnp.zeros((B, K + 1, 2))}),
        (Grouping, {"slots": Slots(**SLOTS)}, {"attention": jnp.zeros((B, N))}),
        (Reconstruction, RECONSTRUCTION, {"masks": jnp.zeros((B, 4, 4))}),
        (Reconstruction, RECONSTRUCTION, {"parts": jnp.zeros((B, K + 1, 4, 4, 3))}),
        (Batch, BATCH, {"image": jnp.zeros((4, 4, 3))}),
        (Batch, BATCH, {"image": jnp.zeros((B, 4, 4, 3), jnp.int32)}),
        (Batch, BATCH, {"index": jnp.arange(B + 1)}),
        (Batch, BATCH, {"visibility": jnp.zeros((B, 5), jnp.int32)}),
        (Batch, BATCH, {"ignore": jnp.zeros((B, 7, 8), bool)}),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused(cls, fields, wrong):
    if set(wrong) <= set(fields):
        cls(**fields)  # right as it stands
    with pytest.raises(Exception, match="ype-check error"):
        cls(**{**fields, **wrong})


def test_label_maps_have_a_size_of_their_own():
    batch = Batch(**BATCH)
    assert batch.segmentation.shape[1:] != batch.image.shape[1:3]


@pytest.mark.parametrize("name", ["image", "video"])
def test_pixels_of_bytes(name):
    shape = (B, 4, 4, 3) if name == "image" else (B, 3, 4, 4, 3)
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    picture.flat[:2] = 0, 255
    pixels = Batch(**{name: jnp.asarray(picture)}).pixels
    assert pixels.dtype == jnp.float32
    assert_allclose(pixels, picture / 255.0, rtol=1e-6)
    assert (pixels.min(), pixels.max()) == (0, 1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_pixels_of_floats(dtype):
    picture = jnp.linspace(0, 1, B * 4 * 4 * 3).reshape(B, 4, 4, 3).astype(dtype)
    pixels = Batch(image=picture).pixels
    assert pixels.dtype == jnp.float32
    assert_array_equal(pixels, picture.astype(jnp.float32))
