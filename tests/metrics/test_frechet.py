import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

from slots.metrics import frechet_distance, on_white


def test_numbers_on_a_line():
    """Means 0 and 3, variances 1 and 4: 9 + 1 + 4 - 2·2."""
    unit = np.array([-1.0, 1]) / np.sqrt(2)
    assert_allclose(frechet_distance(unit[:, None], 3 + 2 * unit[:, None]), 10)


def test_is_the_definition():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((40, 5)) @ rng.standard_normal((5, 5))
    c, d = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c @ d).real
    want = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(c + d - 2 * root)
    assert_allclose(frechet_distance(x, y), want)
    assert_allclose(frechet_distance(y, x), want)


def test_a_set_and_itself():
    x = np.random.default_rng(1).standard_normal((30, 8))
    assert_allclose(frechet_distance(x, x[::-1]), 0, atol=1e-10)


def test_more_features_than_pictures():
    x = np.random.default_rng(2).standard_normal((2, 6, 40))
    assert np.isfinite(frechet_distance(*x))


def test_bad_input():
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(np.ones((1, 3)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(np.ones((4, 3)), np.full((4, 3), np.nan))


def test_slots_on_white():
    parts, masks = np.full((1, 2, 2, 1, 3), 0.2), np.asarray([[[[0.0], [1.0]], [[1.0], [0.5]]]])
    shown = on_white(parts, masks)
    assert_allclose(shown[0, :, :, 0, 0], [[1.0, 0.2], [0.2, 0.6]])
