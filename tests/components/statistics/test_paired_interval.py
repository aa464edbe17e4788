"""The paired interval of two proportions: McNemar's test, coverage, and clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from components.statistics.intervals import paired_interval
from tests.known import known


def pairs(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    now = np.repeat([True, True, False, False], [both, gained, lost, neither])
    before = np.repeat([True, False, True, False], [both, gained, lost, neither])
    return now, before


@pytest.mark.parametrize("lost", range(1, 12))
@pytest.mark.parametrize("gained", [0, 1, 4])
def test_it_excludes_zero_exactly_where_mcnemars_test_is_significant(gained: int, lost: int) -> None:
    now, before = pairs(7, gained, lost, 9)
    low, high = paired_interval(now, before, np.arange(len(now))) or (0.0, 0.0)
    p = chi2.sf((gained - lost) ** 2 / (gained + lost), 1)
    assert (not low <= 0 <= high) == (p < 0.05)
    assert -1 <= low <= (gained - lost) / len(now) <= high <= 1


def test_its_ends_are_where_the_score_statistic_of_the_constrained_likelihood_is_1_96() -> None:
    both, gained, lost, neither = 36, 12, 2, 0
    n = both + gained + lost + neither
    for end in paired_interval(*pairs(both, gained, lost, neither), np.arange(n)) or ():

        def loss(q: float, end: float = end) -> float:
            rest = max(1 - 2 * q - end, 1e-12)  # of the pairs that did not change
            return -(gained * np.log(q + end) + lost * np.log(q) + (both + neither) * np.log(rest))

        found = minimize_scalar(loss, bounds=(max(0.0, -end) + 1e-9, (1 - end) / 2 - 1e-9), method="bounded")
        variance = n * (2 * found.x + end * (1 - end))
        assert abs(gained - lost - n * end) / np.sqrt(variance) == pytest.approx(1.96, abs=1e-3)


def test_nothing_changed_is_not_nothing_known_and_ends_are_kept() -> None:
    now, before = pairs(5, 0, 0, 5)
    low, high = paired_interval(now, before, np.arange(10)) or (0.0, 0.0)
    assert low == pytest.approx(-high)
    assert 0.2 < high < 0.4
    assert known(paired_interval(*pairs(0, 3, 0, 0), np.arange(3)))[1] == 1.0
    assert paired_interval(now[:0], before[:0], np.arange(0)) is None


def test_it_holds_the_difference_of_many_exams_and_clusters_widen_it() -> None:
    random, held, widths = np.random.default_rng(0), [], []
    for _ in range(400):
        cells = random.choice(4, 25, p=[0.4, 0.1, 0.25, 0.25])
        now, before = (cells == 0) | (cells == 1), (cells == 0) | (cells == 2)
        low, high = paired_interval(now, before, np.arange(25)) or (0.0, 0.0)
        held.append(low <= -0.15 <= high)
        twice = (np.repeat(now, 2), np.repeat(before, 2))
        wide, alone = (paired_interval(*twice, clusters) for clusters in (np.repeat(np.arange(25), 2), np.arange(50)))
        assert wide is not None
        assert alone is not None
        widths.append((wide[1] - wide[0]) / (alone[1] - alone[0]))
    assert 0.92 <= np.mean(held) <= 0.985, np.mean(held)
    assert 1.25 < np.mean(widths) < 1.5, "25 patients with two equal exams each are 25, not 50: sqrt(2)"
