"""Doubted labels, against cleanlab and against labels that were changed on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray

from components.statistics.confident_learning import doubted_labels


def _noisy(count: int, seed: int, blur: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return true labels, labels of which every fifth was changed to a neighbour, and probabilities near the truth."""
    classes = 4
    random = np.random.default_rng(seed)
    truth = random.choice(classes, count, p=[0.1, 0.4, 0.4, 0.1])
    changed = random.random(count) < 0.2
    step = np.where(truth == 0, 1, np.where(truth == classes - 1, -1, random.choice([-1, 1], count)))
    labels = np.where(changed, truth + step, truth)
    logits = -1.5 * (np.arange(classes)[None, :] - truth[:, None]) ** 2 + random.normal(0, blur, (count, classes))
    probabilities = np.exp(logits)
    return truth, labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_doubted_labels_and_their_order_are_those_of_cleanlab(seed: int) -> None:
    _, labels, probabilities = _noisy(400, seed, blur=1.0)
    expected = find_label_issues(
        labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    found = doubted_labels(labels, probabilities)
    assert found.positions.tolist() == list(expected)
    assert len(found.positions) > 40


def test_changed_labels_are_found_with_the_true_class() -> None:
    truth, labels, probabilities = _noisy(2000, seed=9, blur=0.4)
    found = doubted_labels(labels, probabilities)
    is_wrong = labels != truth
    assert is_wrong[found.positions].mean() > 0.85
    assert np.isin(np.flatnonzero(is_wrong), found.positions).mean() > 0.7
    right = is_wrong[found.positions]
    assert (found.suggested[right] == truth[found.positions][right]).mean() > 0.95
    assert is_wrong[found.positions[:100]].mean() >= is_wrong[found.positions[-100:]].mean()
    assert (np.diff(found.margins) >= 0).all()
    assert found.margins.max() < 0


def test_a_class_without_labels_has_no_threshold_and_is_not_suggested() -> None:
    probabilities = np.array([[0.6, 0.1, 0.1, 0.2], [0.3, 0.1, 0.1, 0.5], [0.1, 0.7, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1]])
    found = doubted_labels(np.array([0, 0, 1, 0]), probabilities)
    assert np.isnan(found.thresholds).tolist() == [False, False, True, True]
    assert found.thresholds[:2] == pytest.approx([(0.6 + 0.3 + 0.2) / 3, 0.7])
    assert found.positions.tolist() == []  # exam 1 looks like D, which no label has; exam 3 stays below the .7 of B


def test_without_exams_nothing_is_doubted() -> None:
    assert doubted_labels(np.zeros(0, np.int64), np.zeros((0, 4))).positions.tolist() == []
