"""The curve of selective grading against scikit-learn, exam set by exam set."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from components.statistics.scores import ScoreRow, Scores, make_scores
from components.statistics.selective import selective_curve
from tests.known import known


def scores(n: int, rounded: int = 9) -> Scores:
    random = np.random.default_rng(n)
    labels = random.integers(0, 4, n)
    p = random.dirichlet(np.full(4, 0.5), n) + 0.4 * np.eye(4)[labels]
    p = (p / p.sum(axis=1, keepdims=True)).round(rounded)
    return make_scores(ScoreRow(f"p{i // 2:04d}", f"e{i:04d}", int(labels[i]), tuple(p[i])) for i in range(n))


def test_every_point_is_the_metric_of_the_exams_above_its_confidence() -> None:
    observed = scores(150)
    confidence = observed.probabilities.max(axis=1)
    points = selective_curve(observed, 100, 1)
    assert [point.n for point in points][:3] == [150, 142, 135]
    for point in points:
        kept = confidence >= point.confidence
        assert (point.n, point.coverage) == (kept.sum(), kept.mean())
        truth, grades = observed.labels[kept], observed.predicted[kept]
        assert point.figures["accuracy"].value == pytest.approx(accuracy_score(truth, grades), abs=1e-6)
        kappa = cohen_kappa_score(truth, grades, weights="quadratic")
        assert point.figures["quadratic_kappa"].value == pytest.approx(kappa, abs=1e-6)
        assert set(point.figures) == {"accuracy", "quadratic_kappa"}
    surest, all_exams = (known(point.figures["accuracy"].value) for point in (points[-1], points[0]))
    assert surest > all_exams


def test_equal_confidences_stay_together_and_no_exam_is_no_curve() -> None:
    observed = scores(80, rounded=1)
    points = selective_curve(observed, 100, 1)
    assert len(points) < 12
    assert len({point.confidence for point in points}) == len(points)
    assert selective_curve(scores(0), 100, 1) == ()
    alone = selective_curve(scores(1), 100, 1)
    assert [point.n for point in alone] == [1]
    assert alone[0].to_dict()["metrics"]["quadratic_kappa"]["value"] is None
