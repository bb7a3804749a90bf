import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.config import ConfigError
from slots.initializers import FramesInitializerConfig, GaussianConfig, LearnedConfig
from slots.types import Tokens

K, S, D = 5, 4, 3


def make(config, slot_dim=S):
    return config.make(
        num_slots=K, slot_dim=slot_dim, feature_dim=D, content_dim=D, rngs=nnx.Rngs(0)
    )


def draw_slots(initializer, keys):
    size = len(keys)
    tokens = Tokens(
        features=jnp.zeros((size, 2, D)), positions=jnp.zeros((size, 2, 2)), grid=(1, 2)
    )
    first, variables = initializer(
        tokens, keys, initializer.init_variables(jax.random.key(0)), train=True
    )
    slots = first.slots
    assert variables == {}
    return slots


def draw(initializer, keys):
    return draw_slots(initializer, keys).vectors


def keys(*numbers):
    return jax.vmap(jax.random.key)(jnp.array(numbers))


def test_gaussian_has_the_learned_mean_and_scale():
    initializer = make(GaussianConfig())
    initializer.mean[...] = jnp.array([[0.0, 1.0, -2.0, 3.0]])
    initializer.log_scale[...] = jnp.log(jnp.array([[0.1, 1.0, 2.0, 0.5]]))
    drawn = draw(initializer, keys(*range(2000))).reshape(-1, S)
    assert_allclose(drawn.mean(0), [0, 1, -2, 3], atol=0.08)
    assert_allclose(drawn.std(0), [0.1, 1, 2, 0.5], rtol=0.03)


def test_gaussian_draws_are_independent_per_example_and_slot():
    initializer = make(GaussianConfig())
    initializer.mean[...] = jnp.zeros((1, S))
    initializer.log_scale[...] = jnp.zeros((1, S))
    drawn = np.asarray(draw(initializer, keys(*range(2000)))).reshape(2000, K * S)
    covariance = np.cov(drawn, rowvar=False)
    assert_allclose(covariance, np.eye(K * S), atol=0.12)


def test_gaussian_draw_belongs_to_its_key():
    initializer = make(GaussianConfig())
    one, other = draw(initializer, keys(3, 8, 5)), draw(initializer, keys(5, 3))
    assert_array_equal(one[0], other[1])
    assert_array_equal(one[2], other[0])
    assert np.abs(one[0] - one[1]).max() > 0.1


def test_gaussian_first_values():
    initializer = make(GaussianConfig(), slot_dim=64)
    for param in (initializer.mean, initializer.log_scale):
        assert param.shape == (1, 64)
        assert 0.26 < np.abs(param[...]).max() <= (6 / 65) ** 0.5  # 0.3038
        assert param[...].min() < 0 < param[...].max()


def test_gaussian_of_its_own_for_each_slot():
    initializer = make(GaussianConfig(shared=False))
    assert initializer.mean.shape == initializer.log_scale.shape == (K, S)
    initializer.mean[...] = jnp.arange(20.0).reshape(K, S)
    initializer.log_scale[...] = jnp.full((K, S), -20.0)
    drawn = draw(initializer, keys(1, 2))
    assert_allclose(drawn, np.broadcast_to(np.arange(20.0).reshape(K, S), drawn.shape), atol=1e-6)


def test_learned_slots_are_the_same_for_every_picture():
    initializer = make(LearnedConfig())
    drawn = draw(initializer, keys(1, 2, 3))
    assert drawn.shape == (3, K, S)
    for example in drawn:
        assert_array_equal(example, initializer.vectors[...])


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_learned_first_values(scale):
    vectors = make(LearnedConfig(scale=scale), slot_dim=200).vectors[...]
    assert_allclose(vectors.std(), scale, rtol=0.1)


def test_gaussian_may_have_no_parameters():
    initializer = make(GaussianConfig(learned=False))
    assert nnx.to_pure_dict(nnx.state(initializer, nnx.Param)) == {}
    drawn = np.asarray(draw(initializer, keys(*range(2000)))).reshape(-1, S)
    assert_allclose(drawn.mean(0), np.zeros(S), atol=0.05)
    assert_allclose(drawn.std(0), np.ones(S), rtol=0.03)


def angles(frames):
    return np.rad2deg(np.arctan2(frames.rotation[..., 1, 0], frames.rotation[..., 0, 0]))


def test_random_frames_follow_their_laws():
    frames = draw_slots(make(FramesInitializerConfig()), keys(*range(2000))).frames
    position, scale = np.asarray(frames.position), np.asarray(frames.scale)
    assert position.min() >= -1
    assert position.max() <= 1
    assert_allclose(position.mean((0, 1)), [0, 0], atol=0.03)
    assert_allclose(position.std((0, 1)), [3**-0.5, 3**-0.5], rtol=0.03)
    assert_allclose(scale.mean((0, 1)), [0.1, 0.1], atol=0.003)
    assert_allclose(scale.std((0, 1)), [0.1, 0.1], rtol=0.03)
    assert_allclose((scale < 0.001).mean(), 0.161, atol=0.01)  # these the slot module clips
    turned = angles(frames)
    assert np.abs(turned).max() <= 45.001
    assert_allclose(turned.std(), 90 / 12**0.5, rtol=0.03)
    assert_allclose(np.linalg.det(frames.rotation), np.ones((2000, K)), atol=1e-6)


def test_random_frames_are_independent_of_each_other():
    frames = draw_slots(make(FramesInitializerConfig()), keys(*range(2000))).frames
    columns = [frames.position.reshape(2000, -1), frames.scale.reshape(2000, -1), angles(frames)]
    correlation = np.corrcoef(np.concatenate(columns, axis=1), rowvar=False)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.12
    joint = np.corrcoef(np.asarray(frames.position).ravel(), np.asarray(frames.scale).ravel())
    assert abs(joint[0, 1]) < 0.05


def test_the_released_draws_tie_scale_to_position():
    config = FramesInitializerConfig(one_noise=True)
    frames = draw_slots(make(config), keys(*range(2000))).frames
    position, scale = np.asarray(frames.position), np.asarray(frames.scale)
    assert_allclose(np.corrcoef(position.ravel(), scale.ravel())[0, 1], 0.977, atol=0.003)
    clipped = scale.clip(0.001)
    assert_allclose(np.corrcoef(position.ravel(), clipped.ravel())[0, 1], 0.975, atol=0.005)
    order = np.argsort(position.ravel())
    assert (np.diff(scale.ravel()[order]) >= -1e-6).all()


def test_random_frames_belong_to_their_key_and_content_does_not():
    initializer = make(FramesInitializerConfig())
    one, other = draw_slots(initializer, keys(7, 8)), draw_slots(initializer, keys(8))
    for got, want in zip(*map(jax.tree.leaves, (other.frames, one.frames)), strict=True):
        assert_array_equal(got[0], want[1])
        assert np.abs(want[0] - want[1]).min() > 0  # another draw for the other example
    assert_array_equal(one.vectors[0], one.vectors[1])


def test_learned_frames_are_parameters():
    config = FramesInitializerConfig(position="learned", scale="learned", rotation="learned")
    initializer = make(config)
    params = nnx.to_pure_dict(nnx.state(initializer, nnx.Param))
    shapes = jax.tree.map(np.shape, params)
    assert shapes == {
        "content": {"vectors": (K, S)},
        "position": (K, 2),
        "scale": (K, 2),
        "angle": (K,),
    }
    assert np.abs(params["position"]).max() <= 1
    assert_allclose(params["scale"], np.full((K, 2), 0.1), atol=0.05)  # N(0.1, 0.01²)
    frames = draw_slots(initializer, keys(1, 2)).frames
    assert_array_equal(frames.position, np.broadcast_to(params["position"], (2, K, 2)))
    assert_array_equal(frames.scale[0], frames.scale[1])
    assert_allclose(angles(frames)[0], np.tanh(params["angle"]) * 45, atol=1e-4)


def test_frames_take_their_content_from_any_initializer():
    config = FramesInitializerConfig(content=GaussianConfig(), rotation="none")
    slots = draw_slots(make(config), keys(1, 2))
    assert np.abs(slots.vectors[0] - slots.vectors[1]).min() > 0
    assert slots.frames.rotation is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale_std": -0.1}, "scale_std=-0.1"),
        ({"one_noise": True, "scale": "learned"}, "one_noise"),
    ],
)
def test_impossible_frames(settings, words):
    with pytest.raises(ConfigError, match=words):
        FramesInitializerConfig(**settings)
