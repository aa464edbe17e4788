"""What counts as an exam's true and predicted class."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.metrics import cell_name, graded_pair


def test_the_mean_of_the_views_decides() -> None:
    views = [[0.6, 0.4, 0.0, 0.0], [0.4, 0.3, 0.3, 0.0], [0.0, 0.9, 0.1, 0.0]]
    assert graded_pair(["C", "C", "C"], views) == (2, 1)
    assert graded_pair(np.array([[b"A"]]), np.array([[[0.1, 0.2, 0.3, 0.4]]])) == (0, 3)


@pytest.mark.parametrize("label", [["A", "B"], ["E"], [], [b"a"]])
def test_labels_that_differ_or_are_none_are_refused(label: list[str]) -> None:
    with pytest.raises(ValueError, match="An exam needs one density label of A, B, C, D"):
        graded_pair(label, [[0.25] * 4])


def test_cells_are_named_by_level_and_class() -> None:
    assert cell_name("exam", 0, 3) == "exam_true_A_predicted_D"
