"""Slot health on made-up masks: one kind for every verdict."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_masks import MADE, SIDE, B, K, blobs, fixed_cells, regions, shuffled, soft
from numpy.testing import assert_allclose

from slots.metrics.health import (
    STATISTICS,
    THRESHOLDS,
    VERDICTS,
    picture_health,
    slot_health,
    usage,
    verdict,
)


def pictures_of(masks):
    return jax.device_get(jax.jit(picture_health)(jnp.asarray(masks, jnp.float32)))


def health_of(masks):
    return slot_health(pictures_of(masks))


@pytest.mark.parametrize("name", VERDICTS)
def test_each_verdict_fires(name):
    found = health_of(MADE[name](np.random.default_rng(0)))
    assert verdict(found, images=256).name == name


def test_whole_pictures_of_regions_are_healthy():
    found = health_of(soft(regions(np.random.default_rng(1))))
    assert verdict(found, images=256).name == "healthy"
    assert 0.3 < found["position_score"] < 0.5


def test_numbers_of_one_slot():
    found = health_of(MADE["one slot takes all"](np.random.default_rng(0)))
    p = np.array([0.95, *[0.05 / 6] * 6])
    assert_allclose(found["entropy"], -(p * np.log(p)).sum() / np.log(K), rtol=1e-5)
    want = {
        "sharpness": 0.95,
        "largest_share": 1,
        "effective_slots": 1,
        "empty_rate": 6 / 7,
        "dead_rate": 6 / 7,
        "duplicate_rate": 0,
        "neighbour_agreement": 1,
        "row_score": 0,
        "column_score": 0,
        "position_score": 0,
    }
    for name, value in want.items():
        assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    assert set(want) | {"entropy"} == set(STATISTICS)
    used = usage(pictures_of(MADE["one slot takes all"](np.random.default_rng(0))))
    assert_allclose(used, p, rtol=1e-5)


def test_numbers_of_halves():
    """Left and right half, in every picture: rows say nothing, columns three quarters."""
    labels = np.broadcast_to(np.arange(SIDE) // 16, (B, SIDE, SIDE))
    found = health_of(soft(labels))
    assert_allclose(found["effective_slots"], 2, rtol=1e-5)
    assert_allclose(found["empty_rate"], 5 / 7, rtol=1e-6)
    assert_allclose(found["row_score"], 0, atol=1e-6)
    # Variance of 0 … 31 is 85.25; of the two halves' means, 7.5 and 23.5, it is 64.
    assert_allclose(found["column_score"], 64 / 85.25, rtol=1e-5)
    assert_allclose(found["position_score"], 1, atol=1e-5)
    assert_allclose(found["neighbour_agreement"], 1 - 1 / 62, rtol=1e-5)


def test_names_of_slots_mean_nothing():
    rng = np.random.default_rng(2)
    masks = soft(blobs(rng))
    before = health_of(masks)
    after = health_of(np.stack([m[rng.permutation(K)] for m in masks]))
    for name in set(before) - {"dead_rate"}:
        assert_allclose(after[name], before[name], rtol=2e-4, atol=1e-5, err_msg=name)


def test_stripes_that_move_are_still_stripes():
    rng = np.random.default_rng(3)
    columns = (np.arange(SIDE) + rng.integers(-2, 3, (B, 1))) * K // SIDE
    labels = shuffled(rng, np.broadcast_to(columns.clip(0, K - 1)[:, None], (B, SIDE, SIDE)))
    assert verdict(health_of(soft(labels)), images=32).name == "stripes"


def test_cells_that_move_are_a_warning():
    found = verdict(health_of(soft(fixed_cells(np.random.default_rng(4), 0.1))), images=32)
    assert (found.name, found.warning) == ("healthy", "layout-biased")


def test_data_may_be_fixed_in_layout_themselves():
    found = health_of(soft(fixed_cells(np.random.default_rng(5))))
    assert verdict(found, images=32, true_position_score=0.9).name == "healthy"


def test_dead_slots_want_many_pictures():
    found = health_of(MADE["dead slots"](np.random.default_rng(0)))
    assert verdict(found, images=255).name == "healthy"


def test_thresholds_are_in_one_place():
    found = health_of(MADE["healthy"](np.random.default_rng(0)))
    strict = dataclasses.replace(THRESHOLDS, uniform=0.0)
    assert verdict(found, images=32, thresholds=strict).name == "uniform"


def test_sides_that_eight_does_not_divide():
    rng = np.random.default_rng(6)
    masks = rng.dirichlet(np.ones(3), (B, 35, 37)).transpose(0, 3, 1, 2)
    assert np.isfinite(health_of(masks)["position_score"])


def test_one_picture_has_no_position_score():
    found = health_of(soft(np.zeros((B, SIDE, SIDE), int))[:1])
    assert np.isnan(found["position_score"])
    assert np.isfinite(found["entropy"])


def test_one_slot_has_no_health():
    with pytest.raises(ValueError, match="K of at least 2"):
        picture_health(jnp.ones((2, 1, 4, 4)))
