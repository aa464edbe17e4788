"""Agreement of raters who graded the same exams: readers, or readers and the model, in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from components.statistics.confusion import CLASSES, weighted_kappa
from components.statistics.intervals import (
    Figure,
    bootstrap_weights,
    clustered_interval,
    make_figure,
    percentile_interval,
)
from schema.features import DENSITY_CLASSES

DRAWS: Final = 2000
MODEL: Final = "(model)"  # no reader has this name
_SEED: Final = 1
_POWERS: Final = {"kappa": 0, "quadratic_kappa": 2}


@dataclass(frozen=True)
class RatedExam:
    """The grades of one exam.

    Attributes:
        cluster: What the bootstrap draws: the patient, or the exam if the patient is not known.
        grades: Density class by rater; raters who did not grade the exam are absent.
    """

    cluster: str
    grades: Mapping[str, str]


class Agreement(BaseModel):
    """The agreement of two raters on the exams that both graded.

    Attributes:
        first: One rater.
        second: The other.
        exact_agreement: Share of the exams with equal grades, with Wilson's interval.
        kappa: Cohen's kappa without weights, with a bootstrap interval.
        quadratic_kappa: Cohen's kappa with quadratic weights, with a bootstrap interval.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    first: str
    second: str
    exact_agreement: Figure
    kappa: Figure
    quadratic_kappa: Figure


def _kappa(matrices: NDArray[Any], power: int) -> NDArray[Any]:
    """Return kappa, the same in both directions: undefined if one of the raters chose one class only."""
    one_way, other_way = (weighted_kappa(m, power) for m in (matrices, np.swapaxes(matrices, -1, -2)))
    return np.where(np.isnan(other_way), np.nan, one_way)


def agree(first: NDArray[Any], second: NDArray[Any], clusters: NDArray[Any], draws: int = DRAWS) -> dict[str, Figure]:
    """Return the agreement of two raters, with 95 % intervals that respect clusters.

    Args:
        first: int [N], index of the class.
        second: int [N].
        clusters: int [N], 0 to G - 1.
        draws: Bootstrap resamples of the clusters.

    Returns:
        ``exact_agreement``, ``kappa`` and ``quadratic_kappa``.
    """
    count = len(first)
    cells = np.zeros((count, CLASSES**2))
    cells[np.arange(count), first * CLASSES + second] = 1.0

    def matrices(weights: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = (cells.T @ weights).T.reshape(-1, CLASSES, CLASSES)
        return result

    hits = first == second
    figures = {"exact_agreement": make_figure(float(hits.mean()), clustered_interval(hits, clusters), count)}
    whole = matrices(np.ones((count, 1)))
    resampled = [matrices(weights) for weights in bootstrap_weights(clusters, draws, _SEED)]
    for name, power in _POWERS.items():
        drawn = np.concatenate([_kappa(one, power) for one in resampled])
        figures[name] = make_figure(float(_kappa(whole, power)[0]), percentile_interval(drawn), count)
    return figures


def agreements(exams: Sequence[RatedExam], draws: int = DRAWS) -> tuple[Agreement, ...]:
    """Return the agreement of each pair of raters who graded exams together.

    Args:
        exams: The exams, in any order.
        draws: Bootstrap resamples of the patients.

    Returns:
        One entry per pair, sorted by the raters' names.
    """
    raters = sorted({rater for exam in exams for rater in exam.grades})
    ordered = sorted(exams, key=lambda exam: (exam.cluster, sorted(exam.grades.items())))
    found = []
    for first, second in combinations(raters, 2):
        common = [exam for exam in ordered if first in exam.grades and second in exam.grades]
        if not common:
            continue
        one, other = (np.array([DENSITY_CLASSES.index(e.grades[rater]) for e in common]) for rater in (first, second))
        _, clusters = np.unique([exam.cluster for exam in common], return_inverse=True)
        found.append(Agreement(first=first, second=second, **agree(one, other, clusters, draws)))
    return tuple(found)
