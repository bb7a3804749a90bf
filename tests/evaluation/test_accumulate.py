"""Means over examples: by hand, and the same bits in whatever order the examples come."""

import math

import numpy as np
import pytest

from slots.evaluation import Accumulator, Protocol, over_seeds, statistic
from slots.evaluation.evaluation import conclude

SKIP, ONE, ZERO = (Protocol(id=rule, empty=rule) for rule in ("skip", "one", "zero"))
NAN = math.nan


def collected(index: np.ndarray, values: np.ndarray, sizes: list[int]) -> Accumulator:
    """The values added in batches of the given sizes."""
    found, start = Accumulator(), 0
    for size in sizes:
        rows = slice(start, start + size)
        found.add(index[rows], {"a": values[rows], "b": -values[rows]})
        start += size
    return found


class TestStatistic:
    def test_by_hand(self) -> None:
        found = statistic([1.0, 2.0, 3.0, 6.0], SKIP)
        assert found.mean == 3.0
        assert found.stderr == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3 / 4))
        assert found.count == 4
        assert found.as_dict() == {"mean": 3.0, "stderr": found.stderr, "count": 4}

    @pytest.mark.parametrize(
        ("rule", "mean", "count"), [(SKIP, 0.5, 2), (ONE, 0.75, 4), (ZERO, 0.25, 4)], ids=str
    )
    def test_what_undefined_values_count_as(self, rule: Protocol, mean: float, count: int) -> None:
        found = statistic([0.0, NAN, 1.0, NAN], rule)
        assert found.mean == mean
        assert found.count == count
        filled = {"skip": [0.0, 1.0], "one": [0, 1, 1, 1], "zero": [0, 0, 1, 0]}[rule.empty]
        expected = np.std(filled, ddof=1) / math.sqrt(count)
        assert found.stderr == pytest.approx(expected)

    def test_all_undefined(self) -> None:
        found = statistic([NAN, NAN], SKIP)
        assert math.isnan(found.mean)
        assert math.isnan(found.stderr)
        assert found.count == 0
        assert statistic([NAN, NAN], ONE).mean == 1.0

    def test_one_value_has_no_error(self) -> None:
        found = statistic([0.25], SKIP)
        assert (found.mean, found.count) == (0.25, 1)
        assert math.isnan(found.stderr)

    def test_none_at_all(self) -> None:
        assert statistic([], ZERO).count == 0

    def test_sums_are_exact(self) -> None:
        assert statistic([1e16, 1.0, -1e16, 1.0], SKIP).mean == 0.5


class TestMembers:
    def test_by_hand(self) -> None:
        found = statistic([[1.0, 2.0, 6.0], [3.0, 2.0, 10.0]], SKIP)
        assert found.members == (3.0, 5.0)
        assert found.mean == found.seeds_mean == 4.0
        assert found.seeds_std == pytest.approx(math.sqrt(2))
        assert found.count == 3
        assert found.stderr == pytest.approx(np.std([2.0, 2.0, 8.0], ddof=1) / math.sqrt(3))
        assert found.as_dict() == {
            "mean": 4.0,
            "stderr": found.stderr,
            "count": 3,
            "seeds_mean": 4.0,
            "seeds_std": found.seeds_std,
            "members": [3.0, 5.0],
        }

    def test_each_is_what_it_is_alone(self) -> None:
        values = [[1.0, NAN, 3.0, NAN], [2.0, 4.0, NAN, NAN]]
        found = statistic(values, SKIP)
        assert found.members == tuple(statistic(row, SKIP).mean for row in values) == (2.0, 3.0)
        assert found.mean == 2.5
        assert found.count == 3  # the last example is defined for none
        assert found.stderr == pytest.approx(np.std([1.5, 4.0, 3.0], ddof=1) / math.sqrt(3))
        assert statistic(values, ZERO).members == (1.0, 1.5)
        assert statistic(values, ZERO).count == 4

    def test_an_undefined_one_is_not_passed_over(self) -> None:
        found = statistic([[1.0, 2.0], [NAN, NAN]], SKIP)
        assert found.members[0] == 1.5
        assert math.isnan(found.mean)
        assert math.isnan(found.seeds_std)
        assert found.count == 2

    def test_a_lone_one_has_no_spread(self) -> None:
        found = statistic([1.0, 2.0], SKIP)
        assert found.members == ()
        assert found.seeds_mean == found.mean
        assert math.isnan(found.seeds_std)

    @pytest.mark.parametrize(
        ("values", "mean", "std"),
        [([1.0, 3.0], 2.0, math.sqrt(2)), ([1.0], 1.0, NAN), ([], NAN, NAN)]
        + [([1.0, bad], NAN, NAN) for bad in (NAN, math.inf)],
        ids=str,
    )
    def test_over_seeds(self, values: list[float], mean: float, std: float) -> None:
        assert over_seeds(values) == pytest.approx((mean, std), nan_ok=True)


class TestWeights:
    def test_by_hand(self) -> None:
        found = statistic([1.0, 0.0, 0.5], SKIP, [1, 3, 0])
        assert (found.mean, found.count) == (0.25, 2)
        # Of a ratio of sums: √(n/(n-1) Σ (w (v - mean))²) / Σ w.
        assert found.stderr == pytest.approx(math.sqrt(2 * (0.75**2 + 0.75**2)) / 4)

    def test_equal_ones_change_nothing(self) -> None:
        values = [1.0, 2.0, NAN, 5.0]
        assert statistic(values, SKIP, [2, 2, 2, 2]) == statistic(values, SKIP)

    def test_of_members(self) -> None:
        found = statistic([[1.0, 0.0], [0.0, 1.0]], SKIP, [3, 1])
        assert found.members == (0.75, 0.25)


class TestAccumulator:
    def test_neither_order_nor_batches_change_a_bit(self) -> None:
        draw = np.random.default_rng(0)
        values = draw.normal(size=101).astype(np.float32) * 10.0 ** draw.integers(-6, 6, 101)
        index = np.arange(101)
        expected = statistic(collected(index, values, [101]).table()["a"], SKIP)
        for sizes in ([1] * 101, [7] * 14 + [3], [64, 37]):
            order = draw.permutation(101)
            found = collected(index[order], values[order], sizes)
            assert statistic(found.table()["a"], SKIP) == expected
            np.testing.assert_array_equal(found.table()["index"], index)
            np.testing.assert_array_equal(found.table()["a"], values.astype(np.float64))

    def test_a_number_that_comes_twice_counts_once(self) -> None:
        found = Accumulator()
        found.add(np.array([0, 1, 0, 0]), {"a": np.array([1.0, 2.0, 9.0, 9.0])})
        found.add(np.array([1, 2]), {"a": np.array([9.0, 3.0])})
        np.testing.assert_array_equal(found.table()["a"], [1.0, 2.0, 3.0])

    def test_metrics_are_counted_apart(self) -> None:
        found = Accumulator()
        found.add(np.array([0, 1]), {"fg_ari": np.array([1.0, NAN]), "ari": np.array([1.0, 0.0])})
        statistics = conclude(found, SKIP).statistics
        assert statistics["fg_ari"].count == 1
        assert statistics["ari"].count == 2
