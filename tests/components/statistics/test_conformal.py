"""Conformal thresholds: what they promise, on populations where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.statistics.conformal import (
    conformal_threshold,
    exceeding_interval,
    fewest_observations,
    mean_of_subsets,
)


@pytest.mark.parametrize(("n", "largest"), [(19, 19), (20, 20), (39, 38), (59, 57), (99, 95), (100, 96)])
def test_it_is_an_order_statistic(n: int, largest: int) -> None:
    values = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert conformal_threshold(values, 0.05) == largest


def test_too_few_observations_have_no_threshold() -> None:
    assert [fewest_observations(share) for share in (0.5, 0.1, 0.05, 0.01)] == [1, 9, 19, 99]
    for n in (0, 1, 18):
        with pytest.raises(ValueError, match=rf"at least 19\. Received: {n}"):
            conformal_threshold(np.arange(n, dtype=float), 0.05)


@pytest.mark.parametrize("n", [19, 30, 57, 200])
def test_new_observations_exceed_it_as_rarely_as_promised(n: int) -> None:
    """Uniform values: the share above a threshold t is 1 - t."""
    random = np.random.default_rng(5)
    shares = np.array([1 - conformal_threshold(random.uniform(size=n), 0.05) for _ in range(4000)])
    assert shares.mean() <= 0.05 + 3 * shares.std() / np.sqrt(len(shares))
    assert shares.mean() > 0.05 - 1 / (n + 1)
    low, high = exceeding_interval(n, 0.05)
    inside = np.mean((shares >= low) & (shares <= high))
    assert inside == pytest.approx(0.95, abs=0.015)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=4), min_size=19, max_size=40))
def test_whole_rows_are_the_usual_threshold_and_subsets_weigh_one_per_row(rows: list[list[float]]) -> None:
    arrays = [np.array(row) for row in rows]
    for size in (1, 2, 3, 4):
        means, weights = mean_of_subsets(arrays, size)
        assert weights.sum() == pytest.approx(sum(len(row) >= size for row in rows))
    firsts = [np.array(row[:1]) for row in rows]
    means, weights = mean_of_subsets(firsts, 1)
    assert conformal_threshold(means, 0.05, weights) == conformal_threshold(np.concatenate(firsts), 0.05)
