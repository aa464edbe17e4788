"""Agreement of raters, against scikit-learn and the published variance of kappa."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from components.statistics.agreement import RatedExam, agreements
from schema.features import DENSITY_CLASSES


def _drawn(count: int, error: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw two raters; the second one misses by one class with a probability of ``error``."""
    random = np.random.default_rng(seed)
    first = random.integers(0, 4, count)
    second = np.clip(first + random.choice([-1, 0, 1], count, p=[error / 2, 1 - error, error / 2]), 0, 3)
    return first, second


def _rated(first: NDArray[np.int64], second: NDArray[np.int64], exams_of_patient: int = 1) -> list[RatedExam]:
    return [
        RatedExam(f"patient {n // exams_of_patient}", {"1": DENSITY_CLASSES[a], "2": DENSITY_CLASSES[b]})
        for n, (a, b) in enumerate(zip(first, second, strict=True))
    ]


def _standard_error(matrix: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the standard error of kappa. Source: Fleiss, Cohen, Everitt, Psychological Bulletin 72(5):323, 1969."""
    n = matrix.sum()
    p = matrix / n
    row, column = p.sum(1), p.sum(0)
    agreed, chance = (weights * p).sum(), (weights * np.outer(row, column)).sum()
    mean_row, mean_column = weights @ column, weights.T @ row
    inner = weights * (1 - chance) - (mean_row[:, None] + mean_column[None, :]) * (1 - agreed)
    variance = ((p * inner**2).sum() - (agreed * chance - 2 * chance + agreed) ** 2) / (n * (1 - chance) ** 4)
    return math.sqrt(variance)


@pytest.mark.parametrize("error", [0.2, 0.4, 0.8])
def test_kappas_are_those_of_scikit_learn_and_their_intervals_those_of_fleiss(error: float) -> None:
    first, second = _drawn(400, error, seed=3)
    [pair] = agreements(_rated(first, second))
    assert (pair.first, pair.second, pair.kappa.n) == ("1", "2", 400)
    assert pair.exact_agreement.value == pytest.approx((first == second).mean())
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (first, second), 1)
    steps = np.abs(np.arange(4)[:, None] - np.arange(4)[None, :])
    for figure, weights, agreement in (
        (pair.kappa, None, (steps == 0).astype(float)),
        (pair.quadratic_kappa, "quadratic", 1 - steps**2 / 9),
    ):
        expected = cohen_kappa_score(first, second, weights=weights)
        assert figure.value == pytest.approx(expected, abs=1e-6)
        assert figure.ci95 is not None
        half = 1.96 * _standard_error(matrix, agreement)
        assert figure.ci95 == pytest.approx((expected - half, expected + half), abs=0.15 * half)


def test_two_exams_of_each_patient_widen_the_interval() -> None:
    first, second = _drawn(200, 0.3, seed=1)
    [alone] = agreements(_rated(first, second))
    [copied] = agreements(_rated(np.repeat(first, 2), np.repeat(second, 2), exams_of_patient=2))
    assert copied.quadratic_kappa.ci95 == pytest.approx(alone.quadratic_kappa.ci95, abs=0.01)
    assert copied.exact_agreement.ci95 == pytest.approx(alone.exact_agreement.ci95, abs=0.002)


def test_pairs_count_the_exams_that_both_graded_in_any_order() -> None:
    exams = [RatedExam("p1", {"a": "A", "b": "B"}), RatedExam("p2", {"b": "C", "c": "C"}), RatedExam("p3", {"a": "D"})]
    found = agreements(exams)
    assert [(pair.first, pair.second, pair.exact_agreement.n) for pair in found] == [("a", "b", 1), ("b", "c", 1)]
    assert agreements(exams[::-1]) == found


@pytest.mark.parametrize("grades", [("AABB", "BBBB"), ("BBBB", "AABB"), ("BBBB", "BBBB")])
def test_kappa_with_a_rater_of_one_class_is_undefined_in_both_directions(grades: tuple[str, str]) -> None:
    [pair] = agreements([RatedExam(f"p{n}", {"1": a, "2": b}) for n, (a, b) in enumerate(zip(*grades, strict=True))])
    assert (pair.kappa.value, pair.quadratic_kappa.value) == (None, None)
    assert pair.exact_agreement.value == pytest.approx(sum(a == b for a, b in zip(*grades, strict=True)) / 4)
