import numpy as np
import pytest

from slots import metrics


def blobs(seed, shape, count=8):
    """Smooth random masks, some of them empty or full."""
    draw = np.random.default_rng(seed)
    noise = draw.normal(size=(count, *shape))
    for axis in (1, 2):
        for _ in range(4):
            noise = noise + np.roll(noise, 1, axis)
    return noise > draw.choice([-1e9, -6, 0, 6, 1e9], size=(count, 1, 1))


def boundary(mask):
    """Pixel by pixel."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            others = [
                mask[min(y + a, height - 1), min(x + b, width - 1)]
                for a, b in ((0, 1), (1, 0), (1, 1))
            ]
            found[y, x] = any(other != mask[y, x] for other in others)
    return found


def score(true, pred, tolerance):
    lines = [np.argwhere(boundary(mask)) for mask in (true, pred)]
    if not len(lines[0]) and not len(lines[1]):
        return 1.0
    if not len(lines[0]) or not len(lines[1]):
        return 0.0
    squared = ((lines[0][:, None] - lines[1][None]) ** 2).sum(-1)
    near = squared <= tolerance**2
    recall, precision = near.any(1).mean(), near.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5, 40])
@pytest.mark.parametrize("shape", [(12, 17), (20, 7), (1, 9), (9, 1)])
def test_f_is_that_of_distances_between_pixels(shape, tolerance):
    true, pred = blobs(0, shape), blobs(1, shape)
    expected = [score(t, p, tolerance) for t, p in zip(true, pred, strict=True)]
    found = metrics.boundary_f(true, pred, tolerance=tolerance)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_masks_are_perfect():
    masks = blobs(2, (16, 16))
    for metric in (metrics.region_similarity, metrics.boundary_f):
        np.testing.assert_array_equal(metric(masks, masks), np.ones(8))


def test_empty_masks():
    some, none = np.zeros((2, 8, 8), bool)[None, 0], np.zeros((1, 8, 8), bool)
    some[0, 2:5, 2:5] = True
    for metric in (metrics.region_similarity, metrics.boundary_f):
        assert metric(none, none)[0] == 1
        assert metric(some, none)[0] == metric(none, some)[0] == 0


def test_j_is_intersection_over_union():
    true, pred = np.zeros((2, 1, 4, 4), bool)
    true[0, :2], pred[0, 1:3] = True, True
    assert metrics.region_similarity(true, pred)[0] == pytest.approx(1 / 3)


def test_the_edge_of_the_picture_is_no_boundary():
    full = np.ones((1, 6, 6), bool)
    assert metrics.boundary_f(full, full)[0] == 1
    assert metrics.boundary_f(full, np.zeros_like(full))[0] == 1  # neither has one


def test_tolerance_grows_with_the_picture():
    assert metrics.boundary_tolerance(480, 854) == 8
    assert metrics.boundary_tolerance(90, 160) == 2
    assert metrics.boundary_tolerance(8, 8) == 1


def test_bad_input_is_refused():
    mask = np.zeros((1, 4, 4), bool)
    for metric in (metrics.region_similarity, metrics.boundary_f):
        with pytest.raises(ValueError, match=r"\(1, 4, 4\) but pred has \(1, 4, 5\)"):
            metric(mask, np.zeros((1, 4, 5), bool))
    with pytest.raises(ValueError, match="at least 0 pixels, got -1"):
        metrics.boundary_f(mask, mask, tolerance=-1)
