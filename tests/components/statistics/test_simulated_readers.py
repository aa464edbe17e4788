"""Readers of known kappa: the kappa of what is drawn, by scikit-learn, against the one that was asked for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from components.statistics.agreement import RatedExam, agreements
from components.statistics.simulated_readers import (
    draw_readers,
    fit_errors,
    kappa_between_readers,
    kappa_with_truth,
)
from schema.features import DENSITY_CLASSES

AOUP = np.repeat(np.arange(4), [60, 240, 240, 60])


@pytest.mark.parametrize("kappa", [0.3, 0.7, 0.9])
def test_drawn_readers_have_the_kappa_that_was_asked_for(kappa: float) -> None:
    truth = np.tile(AOUP, 100)
    drawn = draw_readers(truth, 3, kappa, seed=4)
    for one, other in combinations(range(3), 2):
        assert cohen_kappa_score(drawn[:, one], drawn[:, other], weights="quadratic") == pytest.approx(kappa, abs=0.01)
    errors = fit_errors(kappa, np.bincount(truth))
    assert kappa_between_readers(errors, np.bincount(truth)) == pytest.approx(kappa, abs=1e-9)
    expected = kappa_with_truth(errors, np.bincount(truth))
    assert cohen_kappa_score(truth, drawn[:, 0], weights="quadratic") == pytest.approx(expected, abs=0.01)
    assert expected > kappa  # two readers share no error, so each is nearer to the truth than to the other


def test_the_intervals_of_drawn_readers_hold_their_kappa() -> None:
    inside = 0
    for seed in range(20):
        drawn = draw_readers(AOUP[::2], 2, 0.7, seed)
        exams = [
            RatedExam(f"p{n}", {"1": DENSITY_CLASSES[a], "2": DENSITY_CLASSES[b]}) for n, (a, b) in enumerate(drawn)
        ]
        [pair] = agreements(exams, draws=300)
        assert pair.quadratic_kappa.ci95 is not None
        low, high = pair.quadratic_kappa.ci95
        inside += low <= 0.7 <= high
    assert inside >= 17


def test_a_seed_draws_the_same_readers_and_kappa_1_draws_the_truth() -> None:
    first, again, other = (draw_readers(AOUP, 2, 0.7, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (draw_readers(AOUP, 2, 1.0, seed=1) == AOUP[:, None]).all()


@pytest.mark.parametrize(("kappa", "truth"), [(0.0, AOUP), (1.1, AOUP), (float("nan"), AOUP), (0.7, AOUP[:60])])
def test_what_cannot_be_drawn_is_refused(kappa: float, truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"kappa|Kappa"):
        draw_readers(truth, 2, kappa, seed=1)
