"""Figures of confusion matrices against scikit-learn, intervals against published values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from components.evaluator.confusion import density_metrics, figures_with_intervals, wilson_interval

CLASSES = [0, 1, 2, 3]
matrices = arrays(np.int64, (4, 4), elements=st.integers(0, 12) | st.just(0)).filter(lambda m: m.sum() > 0)
# Classes that are never true, never predicted, or neither.
masks = arrays(np.bool_, (2, 4))


def grades(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = np.indices((4, 4))
    return np.repeat(true.ravel(), matrix.ravel()), np.repeat(predicted.ravel(), matrix.ravel())


@settings(deadline=None)
@given(matrices, masks)
def test_every_figure_equals_scikit_learn(matrix: np.ndarray, mask: np.ndarray) -> None:
    masked = matrix * mask[0][:, None] * mask[1][None, :]
    matrix = masked if masked.sum() else matrix
    true, predicted = grades(matrix)
    ours = {name: float(value) for name, value in density_metrics(matrix).items()}
    there = sorted(set(true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recall = sk.recall_score(true, predicted, labels=CLASSES, average=None, zero_division=np.nan)
        precision = sk.precision_score(true, predicted, labels=CLASSES, average=None, zero_division=np.nan)
        expected = {
            "accuracy": sk.accuracy_score(true, predicted),
            "macro_recall": sk.balanced_accuracy_score(true, predicted),
            "macro_precision": sk.precision_score(true, predicted, labels=there, average="macro", zero_division=0),
            "quadratic_kappa": sk.cohen_kappa_score(true, predicted, labels=CLASSES, weights="quadratic"),
            "dense_accuracy": sk.accuracy_score(true >= 2, predicted >= 2),
        }
    expected |= {f"recall_{c}": recall[i] for i, c in enumerate("ABCD")}
    expected |= {f"precision_{c}": precision[i] for i, c in enumerate("ABCD")}
    assert set(ours) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-12, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(st.lists(matrices, min_size=1, max_size=5))
def test_a_stack_gives_what_its_matrices_give(stack: list[np.ndarray]) -> None:
    together = density_metrics(np.stack(stack))
    for i, matrix in enumerate(stack):
        for name, value in density_metrics(matrix).items():
            np.testing.assert_array_equal(together[name][i], value)


def test_nothing_counted_is_undefined_not_zero() -> None:
    assert all(np.isnan(value) for value in density_metrics(np.zeros((4, 4))).values())
    figures = figures_with_intervals(np.zeros((4, 4)), 100, 1)
    assert all(f.value is None and f.ci95 is None and f.n == 0 for f in figures.values())


# Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3 (score without continuity correction).
@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_equals_newcombes_table(hits: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(count - hits, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_interval_of_nothing_is_none() -> None:
    assert wilson_interval(0, 0) is None


@settings(deadline=None)
@given(matrices)
def test_proportions_lie_in_their_intervals_and_count_their_own_class(matrix: np.ndarray) -> None:
    figures = figures_with_intervals(matrix, 100, 1)
    for name, figure in figures.items():
        if name in ("accuracy", "dense_accuracy") or name.startswith(("recall_", "precision_")):
            if figure.value is None:
                assert figure.ci95 is None
                continue
            low, high = figure.ci95
            assert 0 <= low <= figure.value <= high <= 1, name
    assert figures["accuracy"].n == matrix.sum()
    assert figures["recall_B"].n == matrix[1].sum()
    assert figures["precision_C"].n == matrix[:, 2].sum()


def test_bootstrap_interval_is_repeatable_narrows_with_exams_and_holds_the_figure() -> None:
    few = np.array([[8, 2, 0, 0], [1, 7, 2, 0], [0, 2, 8, 1], [0, 0, 1, 8]])
    widths = {}
    for factor in (1, 16):
        kappa = figures_with_intervals(few * factor, 4000, 7)["quadratic_kappa"]
        assert kappa == figures_with_intervals(few * factor, 4000, 7)["quadratic_kappa"]
        assert kappa.ci95[0] < kappa.value < kappa.ci95[1]
        widths[factor] = kappa.ci95[1] - kappa.ci95[0]
    assert widths[1] / widths[16] == pytest.approx(4, rel=0.25)  # like 1 / sqrt(n)


def test_bootstrap_agrees_with_resampling_exams_one_by_one() -> None:
    matrix = np.array([[5, 2, 0, 0], [1, 6, 2, 0], [0, 2, 5, 1], [0, 0, 1, 4]])
    true, predicted = grades(matrix)
    random = np.random.default_rng(3)
    draws = []
    for _ in range(1500):
        rows = random.integers(0, len(true), len(true))
        draws.append(sk.cohen_kappa_score(true[rows], predicted[rows], labels=CLASSES, weights="quadratic"))
    ours = figures_with_intervals(matrix, 5000, 1)["quadratic_kappa"].ci95
    assert ours == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.03)


def test_a_flawless_matrix_has_figures_of_one() -> None:
    figures = figures_with_intervals(np.diag([3, 4, 5, 6]), 200, 1)
    assert {figure.value for figure in figures.values()} == {1.0}
    assert figures["quadratic_kappa"].ci95 == (1.0, 1.0)
    assert figures["accuracy"].ci95 == pytest.approx((0.8241, 1.0), abs=5e-5)  # 18 of 18
