"""The combination rule on numpy arrays."""

from __future__ import annotations

import numpy as np

from components.statistics.combination import combine_views
from schema.features import VIEWS

ROWS = np.eye(4)[[0, 1, 2, 3, 0, 0]]
EXAMS = ("two", "one", "one", "one", "one", "two")
IMAGES_OF = ("CC_L", "CC_R", "CC_R", "MLO_R", "CC_L", "CC_L")


def test_views_that_are_there_count_alike() -> None:
    exams = combine_views(EXAMS, IMAGES_OF, ROWS)
    assert exams.exam_ids == ("two", "one"), "in the order in which they first appear"
    assert exams.view_counts.tolist() == [1, 3]
    # Exam "one": two images of CC_R are one view of B and C in equal parts.
    np.testing.assert_allclose(exams.probabilities, [[1.0, 0, 0, 0], [1 / 3, 1 / 6, 1 / 6, 1 / 3]])


def test_a_breast_is_its_sides_views_and_exams_without_them_are_left_out() -> None:
    right = combine_views(EXAMS, IMAGES_OF, ROWS, [view for view in VIEWS if view.endswith("R")])
    assert right.exam_ids == ("one",)
    np.testing.assert_allclose(right.probabilities, [[0, 0.25, 0.25, 0.5]])
    assert right.view_counts.tolist() == [2]


def test_no_image_is_no_exam() -> None:
    exams = combine_views([], [], np.zeros((0, 4)))
    assert (exams.exam_ids, exams.probabilities.shape, exams.view_counts.shape) == ((), (0, 4), (0,))
