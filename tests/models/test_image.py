"""Wiring of the object-discovery model: shapes, ranges, keys, counts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import quick_jit
from contracts.small import NUM_SLOTS, SHAPE, context, defined, predictor, scenes, small_model
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError, replace
from slots.models import Definition, count_parameters
from slots.presets import load
from slots.types import Batch


def shapes(config, image_shape):
    definition = Definition.of(config, image_shape)
    return jax.eval_shape(definition.init, jax.random.key(0))[0]


def count(tree):
    return count_parameters(tree)


def blocks(params):
    """Parameter counts by the blocks of the published table."""
    encoder, decoder = params["encoder"], params["decoder"]
    return {
        "cnn": count(encoder["convs"]),
        "positions": count(encoder["head"]["position"]) + count(decoder["position"]),
        "token head": count(encoder["head"]["norm"]) + count(encoder["head"]["mlp"]),
        "slot module": count(params["module"]) + count(params["initializer"]),
        "decoder": count(decoder["convs"]) + count(decoder["output"]),
    }


def test_parameter_counts_of_the_published_clevr_model():
    params = shapes(load("slot_attention/clevr6").model, (128, 128, 3))
    assert blocks(params) == {
        "cnn": 312_256,
        "positions": 640,
        "token head": 8_448,
        "slot module": 54_208,
        "decoder": 514_628,
    }
    assert count(params) == 890_180


@pytest.mark.parametrize(
    ("preset", "shape"),
    [("tetrominoes", (35, 35, 3)), ("multi_dsprites", (64, 64, 3))],
)
def test_parameter_counts_of_the_published_small_model(preset, shape):
    params = shapes(load(f"slot_attention/{preset}").model, shape)
    assert blocks(params) == {
        "cnn": 79_328,
        "positions": 160 + 320,
        "token head": 2_176,
        "slot module": 50_048,
        "decoder": 103_972 - 320,
    }
    assert count(params) == 235_684


@pytest.mark.slow
def test_one_step_of_the_published_clevr_model():
    """The reference's own smoke test: batch 2, 3 slots, 2 rounds, 128×128."""
    config = replace(
        load("slot_attention/clevr6").model, num_slots=3, module__num_iterations=2, remat=True
    )
    shape = (128, 128, 3)
    definition = Definition.of(config, shape)
    params, variables = definition.init(jax.random.key(0))
    batch = scenes(0, 1, shape=shape)

    def loss(params):
        prediction, _ = definition.bind(params)(batch, context(), variables)
        return jnp.square(prediction.reconstruction.output - prediction.target).mean()

    step = jax.jit(jax.value_and_grad(loss))
    before, gradients = step(params)
    after, _ = step(jax.tree.map(lambda p, g: p - 1e-2 * g, params, gradients))
    assert np.isfinite(before)
    assert after < before


def test_prediction_has_the_documented_shapes():
    predict, params = predictor(small_model(decoder="mlp"))
    found = jax.eval_shape(predict, params, scenes(0, 1))
    assert found.tokens.features.shape == (2, 16, 8)
    assert found.grouping.slots.vectors.shape == (2, NUM_SLOTS, 8)
    assert found.grouping.attention.shape == (2, NUM_SLOTS, 16)
    assert found.reconstruction.output.shape == found.target.shape == (2, *SHAPE)
    assert found.reconstruction.masks.shape == (2, NUM_SLOTS + 1, 16, 16)


def test_draws_do_not_depend_on_the_batch_around_them():
    """With no round the slots are the draws themselves: same record, same slots, to the bit."""
    config = replace(small_model(), module__num_iterations=0)
    predict, params = predictor(config)
    predict = quick_jit(predict)
    first = predict(params, scenes(4, 9, 2)).grouping.slots.vectors
    other = predict(params, scenes(9, 4)).grouping.slots.vectors
    assert_array_equal(first[0], other[1])
    assert_array_equal(first[1], other[0])
    assert np.abs(first[0] - first[1]).max() > 0.1


def test_draws_change_with_the_key():
    definition = Definition.of(replace(small_model(), module__num_iterations=0), SHAPE)
    params, variables = definition.init(jax.random.key(0))
    draw = quick_jit(
        lambda context: (
            definition.bind(params)(scenes(0), context, variables)[0].grouping.slots.vectors
        )
    )
    assert_array_equal(draw(context(1)), draw(context(1)))
    assert np.abs(draw(context(1)) - draw(context(2))).max() > 0.1


def test_records_without_numbers_get_their_place():
    predict, params = predictor(replace(small_model(), module__num_iterations=0))
    batch = scenes(0, 1)
    bare = Batch(image=batch.image)
    got = quick_jit(predict)(params, bare).grouping.slots.vectors
    assert_array_equal(got, quick_jit(predict)(params, batch).grouping.slots.vectors)


@pytest.mark.parametrize("pixel_range", ["unit", "symmetric"])
def test_pixel_range(pixel_range):
    predict, params = predictor(small_model(pixel_range=pixel_range))
    batch = scenes(0, 1)
    image = np.asarray(batch.image)
    wanted = image if pixel_range == "unit" else 2 * image - 1
    assert_allclose(quick_jit(predict)(params, batch).target, wanted, atol=1e-6)
    definition, _ = defined(small_model(pixel_range=pixel_range))
    model = definition.bind(params)
    assert_allclose(model.to_image(model.from_image(batch.image)), image, atol=1e-6)
    assert model.to_image(batch.image.astype(jnp.bfloat16)).dtype == jnp.float32


def test_bytes_and_floats_are_the_same_picture():
    predict, params = predictor(small_model())
    picture = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    index = jnp.arange(2)
    got = quick_jit(predict)(params, Batch(image=jnp.asarray(picture), index=index))
    floats = jnp.asarray(picture / np.float32(255.0), jnp.float32)
    wanted = quick_jit(predict)(params, Batch(image=floats, index=index))
    assert_allclose(got.reconstruction.output, wanted.reconstruction.output, atol=1e-5)


def test_rounds_outside_training_are_their_own_setting():
    config = replace(small_model(), module__num_iterations=1, module__eval_iterations=4)
    for train, rounds in ((True, 1), (False, 4)):
        predict, params = predictor(config, train=train)
        found = jax.eval_shape(predict, params, scenes(0))
        assert found.grouping.diagnostics["attention_per_iteration"].shape[1] == rounds


def test_more_slots_fit_the_same_parameters():
    _, params = predictor(small_model())
    predict, other = predictor(small_model(num_slots=6))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, other)
    found = jax.eval_shape(predict, params, scenes(0))
    assert found.grouping.slots.vectors.shape == (1, 6, 8)


def test_the_factor_of_relative_coordinates_reaches_the_decoder():
    definition, params = defined(small_model(scale_factor=3.0))
    assert definition.bind(params).decoder.scale_factor == 3.0


def test_parameters_are_kept_and_computed_in_their_own_types():
    config = small_model(param_dtype="bfloat16")
    definition = Definition.of(config, SHAPE)
    params, _ = quick_jit(definition.init)(jax.random.key(0))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    bound = definition.bind(params)
    assert bound.module.query.kernel[...].dtype == jnp.float32


def test_same_key_same_parameters():
    definition = Definition.of(small_model(), SHAPE)
    init = quick_jit(lambda seed: definition.init(jax.random.key(seed))[0])
    one, same, other = init(1), init(1), init(2)
    jax.tree.map(assert_array_equal, one, same)
    assert np.abs(one["module"]["query"]["kernel"] - other["module"]["query"]["kernel"]).max() > 0


def test_wrong_pictures_are_refused():
    predict, params = predictor(small_model())
    with pytest.raises(ConfigError, match=r"\(16, 16, 3\), got \(12, 16, 3\)"):
        predict(params, scenes(0, shape=(12, 16, 3)))
    clip = Batch(video=jnp.zeros((1, 2, *SHAPE)))
    with pytest.raises(ConfigError, match="got None"):
        predict(params, clip)


@pytest.mark.parametrize("field", ["num_slots", "slot_dim"])
def test_impossible_settings(field):
    with pytest.raises(ConfigError, match=f"{field}=0"):
        dataclasses.replace(small_model(), **{field: 0})
