"""Combine the probabilities of views to probabilities of exams: the rule of the exam model, on numpy arrays.

``components/exam_model/exam_grades.py`` is the same rule as a TensorFlow graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schema.features import DENSITY_CLASSES, VIEWS


@dataclass(frozen=True, eq=False)
class CombinedExams:
    """Exams in the order in which they first appear.

    Attributes:
        exam_ids: Exams that have at least one of the requested views.
        probabilities: float64 [E, 4], mean of the present views; several images of one view count as one.
        view_counts: int64 [E], views behind each row, 1..4.
    """

    exam_ids: tuple[str, ...]
    probabilities: NDArray[Any]
    view_counts: NDArray[Any]


def combine_views(
    exam_ids: Sequence[str], views: Sequence[str], probabilities: NDArray[Any], of: Sequence[str] = VIEWS
) -> CombinedExams:
    """Combine images to exams, or to breasts if ``of`` has the views of one side.

    Args:
        exam_ids: Exam of each image, [N].
        views: View of each image, [N], each one of VIEWS.
        probabilities: [N, 4].
        of: Views that count; other views are ignored.

    Returns:
        The exams.
    """
    rows = {
        exam: row for row, exam in enumerate(dict.fromkeys(e for e, v in zip(exam_ids, views, strict=True) if v in of))
    }
    sums = np.zeros((len(rows), len(VIEWS), len(DENSITY_CLASSES)))
    images = np.zeros((len(rows), len(VIEWS), 1))
    for exam, view, row in zip(exam_ids, views, np.asarray(probabilities, np.float64), strict=True):
        if view in of:
            sums[rows[exam], VIEWS.index(view)] += row
            images[rows[exam], VIEWS.index(view)] += 1
    counts = (images > 0).sum(axis=1)
    return CombinedExams(tuple(rows), (sums / np.maximum(images, 1)).sum(axis=1) / counts, counts[:, 0])


def views_of_exams(exam_ids: Sequence[str], views: Sequence[str], values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the value of each view of each exam; several images of one view count as one: their mean.

    Args:
        exam_ids: Exam of each image, [N].
        views: View of each image, [N].
        values: [N].

    Returns:
        float64 [1..4] by exam, in the order in which exams first appear.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for exam, view, value in zip(exam_ids, views, values.tolist(), strict=True):
        found.setdefault(exam, {}).setdefault(view, []).append(value)
    return {exam: np.array([np.mean(of_view) for of_view in by_view.values()]) for exam, by_view in found.items()}
