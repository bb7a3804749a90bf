"""The reshaped convolutions are the same functions as XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.filled import filled, quick_jit
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from slots.nn import Conv, conv_same, conv_transpose_same

NUMBERS = ("NHWC", "HWIO", "NHWC")


def lax_same(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=NUMBERS
    )


def lax_transpose_same(x, kernel, stride):
    return jax.lax.conv_transpose(x, kernel, (stride, stride), "SAME", dimension_numbers=NUMBERS)


def assert_same_function(ours, theirs, size, kernel, stride):
    """Values and both gradients, at random numbers."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *size, 2)), jnp.float32)
    weights = jnp.asarray(rng.standard_normal((*kernel, 2, 3)), jnp.float32)
    shape = jax.eval_shape(lambda: theirs(x, weights, stride)).shape
    cotangent = jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def both(x, weights):
        found = []
        for function in (ours, theirs):
            y, pull = jax.vjp(lambda x, w, f=function: f(x, w, stride), x, weights)
            found.append((y, *pull(cotangent)))
        return found

    got, want = quick_jit(both)(x, weights)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert_allclose(a, b, atol=3e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((7, 5), (5, 5), 1),
        ((6, 5), (4, 2), 1),
        ((8, 8), (5, 5), 2),
        ((7, 9), (5, 5), 2),
        ((7, 8), (3, 3), 2),
        ((9, 8), (1, 1), 2),
        ((9, 7), (4, 4), 2),
        ((10, 7), (2, 5), 3),
        ((11, 6), (7, 3), 4),
        ((2, 1), (5, 5), 2),
    ],
)
def test_conv_same(size, kernel, stride):
    assert_same_function(conv_same, lax_same, size, kernel, stride)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((4, 3), (5, 5), 1),
        ((4, 3), (5, 5), 2),
        ((3, 5), (3, 3), 2),
        ((3, 4), (4, 4), 2),
        ((3, 4), (2, 2), 2),
        ((4, 2), (1, 1), 2),
        ((3, 2), (5, 3), 3),
        ((2, 3), (7, 2), 4),
        ((1, 2), (6, 5), 3),
    ],
)
def test_conv_transpose_same(size, kernel, stride):
    assert_same_function(conv_transpose_same, lax_transpose_same, size, kernel, stride)


def test_kernel_is_not_flipped():
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    dot = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1].set(1.0)
    drawn = conv_transpose_same(dot, kernel, 1)[0, :, :, 0]
    assert_array_equal(drawn, jax.lax.conv_transpose(dot, kernel, (1, 1), "SAME")[0, :, :, 0])
    assert_array_equal(conv_same(dot, kernel)[0, :, :, 0], kernel[::-1, ::-1, 0, 0])
    assert_array_equal(drawn, kernel[::-1, ::-1, 0, 0])


@pytest.mark.parametrize("transpose", [False, True])
def test_layer(transpose):
    conv = Conv(2, 3, 3, stride=2, transpose=transpose, rngs=nnx.Rngs(0))
    assert conv.kernel.shape == (3, 3, 2, 3)
    assert_array_equal(conv.bias[...], np.zeros(3))
    limit = (6 / (9 * 2 + 9 * 3)) ** 0.5  # Glorot's rule on the kernel's fans
    assert 0.7 * limit < np.abs(conv.kernel[...]).max() <= limit
    x = jnp.ones((1, 4, 4, 2))
    before = conv(x)
    assert before.shape == ((1, 8, 8, 3) if transpose else (1, 2, 2, 3))
    conv.bias[...] = jnp.array([1.0, 2.0, 3.0])
    assert_allclose(conv(x) - before, np.broadcast_to([1.0, 2.0, 3.0], before.shape), atol=1e-6)


def test_layer_without_bias():
    conv = Conv(2, 3, 1, use_bias=False, rngs=nnx.Rngs(0))
    assert conv.bias is None
    assert_array_equal(conv(jnp.zeros((1, 2, 2, 2))), np.zeros((1, 2, 2, 3)))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_constant_pictures_convolve_as_any_other(kernel, stride):
    """Results and gradients, for pictures from the kernel's own size on."""
    options = {"stride": stride, "transpose": stride > 1}
    conv = filled(lambda rngs: Conv(2, 3, kernel, **options, rngs=rngs))
    graphdef, params = nnx.split(conv)
    size = (kernel + 3, kernel)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((3, 2)), jnp.float32)
    shape = (3, stride * size[0], stride * size[1], 3)
    cotangent = jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def quick(params, x):
        return nnx.merge(graphdef, params).constant(x, size)

    def plain(params, x):
        pictures = jnp.broadcast_to(x[:, None, None], (len(x), *size, x.shape[-1]))
        return nnx.merge(graphdef, params)(pictures)

    @quick_jit
    def both(params, x):
        found = []
        for function in (quick, plain):
            y, pull = jax.vjp(function, params, x)
            found.append(jax.tree.leaves((y, pull(cotangent))))
        return found

    for a, b in zip(*both(params, x), strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-6 * max(1, float(np.abs(b).max())))
