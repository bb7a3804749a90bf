import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slots import metrics

from . import oracles


def pictures(shape, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.random(shape, np.float32)
    return true, true + rng.normal(0, 0.1, shape).astype(np.float32)


def test_mean_and_sum():
    true, pred = pictures((3, 13, 12, 3))
    expected = np.square(true.astype(np.float64) - pred).mean((1, 2, 3))
    mean = metrics.reconstruction_error(true, pred)
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    total = metrics.reconstruction_error(true, pred, reduce="sum")
    np.testing.assert_allclose(total, expected * 13 * 12 * 3, rtol=1e-5)
    symmetric = metrics.reconstruction_error(2 * true - 1, 2 * pred - 1)
    np.testing.assert_allclose(symmetric, 4 * expected, rtol=1e-5)


def test_predictions_are_not_clamped_in_the_error_but_in_psnr():
    true, pred = np.ones((1, 2, 2, 3), np.float32), np.full((1, 2, 2, 3), 3, np.float32)
    assert metrics.reconstruction_error(true, pred)[0] == 4
    assert metrics.psnr(true, pred)[0] == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize(
    ("offset", "decibel"), [(0.1, 20), (0.01, 40), (1, 0), (0, 100), (1e-6, 100)]
)
def test_psnr_by_hand(offset, decibel):
    true = jnp.zeros((1, 4, 4, 3))
    assert metrics.psnr(true, true + offset)[0] == pytest.approx(decibel, abs=1e-3)


def test_clips_average_over_frames():
    true, pred = pictures((2, 4, 12, 12, 3))
    pred[:, 0] = true[:, 0]
    flat = [x.reshape(8, 12, 12, 3) for x in (true, pred)]
    total = functools.partial(metrics.reconstruction_error, reduce="sum")
    for metric in (metrics.reconstruction_error, total, metrics.psnr, metrics.ssim):
        frames = metric(*flat).reshape(2, 4)
        np.testing.assert_allclose(metric(true, pred), frames.mean(1), rtol=1e-5)
        one_frame = metric(true[:, 1:2], pred[:, 1:2])
        np.testing.assert_allclose(one_frame, frames[:, 1], rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 11, 11, 3), (2, 16, 13, 1)])
def test_ssim_equals_windows_one_by_one(shape):
    true, pred = pictures(shape)
    true[1] = true[1] * 0.02 + 0.9  # nearly flat and bright: the hard case for rounding
    pred[1] = pred[1] * 0.02 + 0.9
    expected = [oracles.ssim(t, p) for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(metrics.ssim(true, pred), expected, atol=1e-5)


def test_ssim_of_equal_and_of_small_pictures():
    true, pred = pictures((2, 20, 20, 3))
    np.testing.assert_allclose(metrics.ssim(true, true), [1, 1], atol=1e-6)
    assert (metrics.ssim(true, pred) < 1).all()
    for small in ((2, 10, 20, 3), (2, 20, 10, 3)):
        assert np.isnan(metrics.ssim(*pictures(small))).all()


def test_jit_equals_eager():
    true, pred = pictures((4, 12, 12, 3))
    for metric in (metrics.reconstruction_error, metrics.psnr, metrics.ssim):
        np.testing.assert_allclose(jax.jit(metric)(true, pred), metric(true, pred), rtol=1e-6)


@pytest.mark.parametrize("metric", [metrics.reconstruction_error, metrics.psnr, metrics.ssim])
def test_unequal_shapes_are_refused(metric):
    true, _ = pictures((1, 12, 12, 3))
    with pytest.raises(ValueError, match=r"\(1, 12, 12, 3\) but pred has \(1, 12, 12, 1\)"):
        metric(true, true[..., :1])


def test_unknown_reductions_are_refused():
    true, pred = pictures((1, 4, 4, 3))
    with pytest.raises(Exception, match="reduce"):
        metrics.reconstruction_error(true, pred, reduce="max")
