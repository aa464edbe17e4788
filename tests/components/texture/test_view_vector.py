from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.texture.view_vector import exam_means
from schema.features import VIEWS

WHOLE = [(0, "CC_R", 1.0), (0, "CC_L", 3.0), (0, "MLO_R", 10.0), (0, "MLO_L", 30.0)]


def means(rows: list[tuple[int, str, float]], exams: int = 1) -> list[float]:
    """Rows are (exam, view, value)."""
    numbers, views, values = zip(*rows, strict=True)
    found = exam_means(
        tf.constant(np.array(values, np.float32)[:, np.newaxis].repeat(2, axis=1)),
        tf.constant([VIEWS.index(view) for view in views], tf.int32),
        tf.constant(numbers, tf.int32),
        tf.constant(exams),
    ).numpy()
    assert (found[:, 0] == found[:, 1]).all()
    return found[:, 0].tolist()


def test_an_exam_is_the_mean_of_its_views() -> None:
    assert means(WHOLE) == [11.0]
    assert means(WHOLE[:2]) == [2.0]


def test_several_images_of_one_view_count_as_one() -> None:
    assert means([*WHOLE, (0, "CC_R", 3.0)]) == [11.25]


def test_exams_and_images_may_come_in_any_order() -> None:
    assert means([(1, "CC_L", 5.0), *WHOLE[::-1], (1, "CC_R", 7.0)], 3) == [11.0, 6.0, 0.0]


def test_a_mean_of_negative_values_and_zeros_counts_them() -> None:
    assert means([(0, "CC_R", -4.0), (0, "CC_L", 0.0)]) == [-2.0]
