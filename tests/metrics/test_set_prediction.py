import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from slots.metrics import DISTANCES, average_precision, nearest_alike
from slots.properties import LAYOUTS, PropertyLayout

CLEVR = LAYOUTS["clevr"]
TINY = PropertyLayout(1, 3.0, (("shape", ("cube", "ball")),))  # place, two classes, present


def ap(found, target, layout=TINY, scale=6.0, **options):
    found, target = np.asarray(found, float), np.asarray(target, float)
    return average_precision(found, target, layout, distance_scale=scale, **options)


def thing(place=0.0, shape=0, present=1.0):
    return [place, *np.eye(2)[shape], present]


NOTHING = [0, 0, 0, 0]


def scenes(seed, pictures=6, slots=10):
    """Random sets of CLEVR's layout."""
    rng = np.random.default_rng(seed)
    target = np.zeros((pictures, slots, CLEVR.width))
    for picture in target:
        for row in picture[: rng.integers(1, slots)]:
            row[:3] = rng.uniform(0, 1, 3)
            for name, size in CLEVR.sizes.items():
                row[CLEVR.spans[name]] = np.eye(size)[rng.integers(size)]
            row[-1] = 1
    return target


def test_perfect_predictions():
    target = scenes(0)
    assert_allclose(ap(target, target, CLEVR), np.ones(5))
    shuffled = target[:, np.random.default_rng(0).permutation(10)]
    assert_allclose(ap(shuffled, target, CLEVR), np.ones(5))


@pytest.mark.parametrize(("objects", "want"), [(2, 5 / 6), (4, 5 / 12)])
def test_right_wrong_right(objects, want):
    """Hits in the order yes, no, yes."""
    target = [[thing(i / 10) for i in range(objects)] + [NOTHING] * (4 - objects)]
    found = [[thing(0, present=0.9), thing(0, shape=1, present=0.8), thing(0.1, present=0.7)]]
    assert_allclose(ap(found, target), [want] * 5)


def test_offset_of_a_tenth_is_a_distance_of_0_6():
    found, target = [[thing(0.1)]], [[thing(0.0)]]
    assert_allclose(ap(found, target), [1, 1, 0, 0, 0])
    assert_allclose(ap(found, target, scale=3.0), [1, 1, 1, 0, 0])


def test_two_predictions_of_one_object():
    target = [[thing(0.0), NOTHING]]
    found = [[thing(0.0, present=0.5), thing(0.01, present=0.9)]]
    assert_allclose(ap(found, target, thresholds=(math.inf, 0.05)), [1, 0.5])


def test_no_second_choice():
    """The nearest object is claimed: another of the same kind farther off does not count."""
    target = [[thing(0.0), thing(0.5)]]
    found = [[thing(0.0, present=0.9), thing(0.1, present=0.8)]]
    assert_allclose(ap(found, target), [0.5] * 5)


def test_ties_of_confidence_go_by_picture_and_slot():
    target = [[thing(0.0)], [thing(0.0)]]
    right_first = ap([[thing(0.0)], [thing(0.0, shape=1)]], target)
    wrong_first = ap([[thing(0.0, shape=1)], [thing(0.0)]], target)
    assert_allclose(right_first, [0.5] * 5)
    assert_allclose(wrong_first, [0.25] * 5)


def test_pictures_without_objects():
    found = [[thing(0.0, present=0.9)], [thing(0.0, present=0.8)]]
    assert_allclose(ap(found, [[NOTHING], [thing(0.0)]]), [0.5] * 5)
    assert np.isnan(ap(found, [[NOTHING], [NOTHING]])).all()


def test_too_few_slots():
    target = [[thing(0.0), thing(0.3), thing(0.6)]]
    assert_allclose(ap([[thing(0.0)]], target), [1 / 3] * 5)


def plain(found, target, layout, scale, threshold):
    """The definition, prediction by prediction."""
    claimed, hits = set(), []
    order = sorted(((-p[-1], i, k) for i, ps in enumerate(found) for k, p in enumerate(ps)))
    for _, i, k in order:
        best = None
        for m, real in enumerate(target[i]):
            same = real[-1] > 0.5 and all(
                found[i][k][s].argmax() == real[s].argmax()
                for s in (layout.spans[name] for name, _ in layout.categories)
            )
            gap = scale * np.linalg.norm((found[i][k] - real)[layout.spans["position"]])
            if same and (best is None or gap < best[0]):
                best = (gap, (i, m))
        hit = best is not None and best[0] < threshold and best[1] not in claimed
        if hit:
            claimed.add(best[1])
        hits.append(hit)
    total, precision = int((target[..., -1] > 0.5).sum()), []
    for n in range(1, len(hits) + 1):
        precision.append(sum(hits[:n]) / n)
    return sum(max(precision[n:]) for n, hit in enumerate(hits) if hit) / total


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_is_the_definition(seed):
    rng = np.random.default_rng(seed)
    target = scenes(seed, pictures=3, slots=4)
    found = target[:, rng.permutation(4)] + rng.normal(0, 0.05, target.shape)
    found[..., -1] = rng.integers(0, 5, found.shape[:2]) / 5  # with ties
    got = ap(found, target, CLEVR)
    for value, threshold in zip(got, DISTANCES, strict=True):
        assert_allclose(value, plain(found, target, CLEVR, 6.0, threshold), atol=1e-12)
    assert (np.diff(got) <= 1e-12).all()  # stricter is never better


def test_bad_input():
    target = scenes(0)
    with pytest.raises(ValueError, match="must be"):
        ap(target[:2], target, CLEVR)
    with pytest.raises(ValueError, match="not finite"):
        ap(np.full_like(target, np.nan), target, CLEVR)


def test_nearest_of_the_same_classes():
    """The red one at 0.1 is nearest; the green ones have one at 0.3, scaled by 6, or none."""
    layout = CLEVR
    target = np.zeros((1, 3, layout.width))
    for row, (x, color) in zip(target[0], [(0.0, 4), (0.1, 4), (0.5, 5)], strict=True):
        row[0], row[layout.spans["color"]], row[-1] = x, np.eye(8)[color], 1
    found = target[:, [0, 2, 2]].copy()
    found[0, 0, 0], found[0, 1, 0] = 0.12, 0.8
    found[0, 2, layout.spans["color"]] = np.eye(8)[0]
    nearest, distance = nearest_alike(found, target, layout, 6.0)
    assert nearest[0, :2].tolist() == [1, 2]
    assert_allclose(distance, [[0.12, 1.8, np.inf]], rtol=1e-9)
