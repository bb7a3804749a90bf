import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import abstract, filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose

from slots.config import ConfigError
from slots.encoders import CNNConfig, ResNetConfig, TokenHeadConfig, WindowsConfig
from slots.models import count_parameters

BARE = TokenHeadConfig(position="none", hidden=0)


def make(config, shape):
    return filled(lambda rngs: config.make(image_shape=shape, rngs=rngs))


def images(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(-1, 1, (2, height, width, 3)), jnp.float32)


def run(encoder, x):
    return quick_jit(lambda encoder, x: encoder(x))(encoder, x)


@pytest.mark.parametrize("final_relu", [True, False])
def test_cnn_is_its_convolutions(final_relu):
    config = CNNConfig(
        channels=(4, 5), strides=(2, 1), kernel_size=3, final_relu=final_relu, head=BARE
    )
    encoder = make(config, (7, 9, 3))
    assert encoder.grid == (4, 5)
    assert encoder.feature_dim == 5
    x = y = images(7, 9)
    for i, (conv, stride) in enumerate(zip(encoder.convs, (2, 1), strict=True)):
        y = jax.lax.conv_general_dilated(
            y,
            conv.kernel[...],
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        y = y + conv.bias[...][None, None, None]
        y = jax.nn.relu(y) if final_relu or i == 0 else y
    tokens = run(encoder, x)
    assert_allclose(tokens.features, y.reshape(2, 20, 5), atol=1e-5)
    assert (tokens.features.min() >= 0) == final_relu


@pytest.mark.parametrize(("depth", "count"), [(34, 21_276_992), (18, 11_168_832)], ids=["34", "18"])
def test_resnet_parameter_counts(depth, count):
    config = ResNetConfig(depth=depth, head=BARE)
    _, params = abstract(lambda rngs: config.make(image_shape=(128, 128, 3), rngs=rngs))
    assert count_parameters(params) == count


def test_resnet_grid_and_width():
    config = ResNetConfig(depth=18, strides=(1, 2, 1, 2), width_multiplier=1 / 16, num_groups=2)
    assert config.widths == (4, 8, 16, 32)
    tokens = run(make(config, (10, 7, 3)), images(10, 7))
    assert tokens.grid == (3, 2)
    assert tokens.features.shape == (2, 6, 32)


def test_resnet_blocks_start_as_their_shortcuts():
    """The last norm's scale starts at 0, so that a fresh block only passes its input on."""
    config = ResNetConfig(depth=18, width_multiplier=1 / 32, num_groups=2, head=BARE)
    fresh = jax.jit(lambda: config.make(image_shape=(4, 4, 3), rngs=nnx.Rngs(0)).blocks[0])()
    x = images(4, 4)[..., :2]
    assert_allclose(fresh(x), jax.nn.relu(x), atol=1e-6)


def test_resnet_group_norm_is_per_picture():
    """No statistic is shared over the batch."""
    config = ResNetConfig(depth=18, width_multiplier=1 / 32, num_groups=2)
    encoder = make(config, (8, 8, 3))
    both, x = images(8, 8), images(8, 8)
    alone = run(encoder, x.at[1].multiply(9.0))
    assert_allclose(alone.features[0], run(encoder, both).features[0], atol=1e-5)


def test_windows_are_patches_through_a_perceptron():
    config = WindowsConfig(window=5, stride=3, hidden=6, features=4, head=BARE)
    encoder = make(config, (7, 8, 3))
    assert encoder.grid == (3, 3)
    x = images(7, 8)
    tokens = run(encoder, x)
    # rows: 3 windows of 5, 3 apart, cover 11 of 7 pixels: 2 before, 2 after; columns 11 of 8: 1, 2
    padded = np.pad(x, ((0, 0), (2, 2), (1, 2), (0, 0)))
    for row in range(3):
        for column in range(3):
            patch = padded[:, 3 * row : 3 * row + 5, 3 * column : 3 * column + 5]
            wanted = encoder.mlp(jnp.asarray(patch.reshape(2, -1)))
            assert_allclose(tokens.features[:, 3 * row + column], wanted, atol=1e-5)
    # middles of the windows in pixels of the picture: rows 0, 3, 6; columns 1, 4, 7
    wanted = np.stack(np.meshgrid([-1, 0, 1], [2 / 7 - 1, 8 / 7 - 1, 1], indexing="ij"), -1)
    assert_allclose(tokens.positions[0], wanted.reshape(9, 2), atol=1e-6)


def test_windows_see_every_pixel():
    encoder = make(WindowsConfig(window=3, stride=3, hidden=40, features=4), (7, 8, 3))
    gradient = quick_jit(jax.grad(lambda x: jnp.square(encoder(x).features).sum()))(images(7, 8))
    assert (np.abs(gradient).max(-1) > 0).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CNNConfig(channels=(8, 8), strides=(1,)), "equally long"),
        (lambda: CNNConfig(channels=(), strides=()), "equally long"),
        (lambda: ResNetConfig(strides=(1, 2)), "four stages"),
        (lambda: ResNetConfig(width_multiplier=1 / 16), "num_groups=32"),
        (lambda: WindowsConfig(window=3, stride=4), "stride=4"),
        (lambda: WindowsConfig(stride=0), "stride=0"),
    ],
)
def test_impossible_settings(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
