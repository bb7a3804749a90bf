import functools

import numpy as np
import pytest

from slots import metrics

from .examples import TRUE, random_maps


def test_mean_over_the_frames_with_a_value():
    true, pred = random_maps(15, (3, 4, 8, 8), 4, 4)
    true[0, 1] = 0  # one frame without objects
    true[2] = 0  # a clip without any
    ignore = np.random.default_rng(16).random(true.shape) < 0.1
    metric = functools.partial(metrics.mean_best_overlap, num_true=4, num_pred=4)
    frames = np.stack(
        [metric(true[:, t], pred[:, t], ignore=ignore[:, t]) for t in range(4)], axis=1
    )
    assert np.isnan(frames).sum() == 5
    expected = [np.nanmean(frames[0]), frames[1].mean(), np.nan]
    got = metrics.per_frame(metric)(true, pred, ignore=ignore)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_options_reach_the_metric():
    true, pred = random_maps(17, (2, 3, 8, 8), 4, 4)
    per_frame = metrics.per_frame(metrics.adjusted_rand_index)
    direct = metrics.per_frame(
        functools.partial(metrics.adjusted_rand_index, ignore_background=True)
    )
    np.testing.assert_array_equal(per_frame(true, pred, ignore_background=True), direct(true, pred))


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"needs clips \[B,T,H,W\], got true \(1, 4, 4\)"):
        metrics.per_frame(metrics.mean_iou)(TRUE, TRUE)
