import numpy as np
import tensorflow as tf

from components.texture.exam_vector import PARTS, VECTOR, exam_vectors
from components.texture.features import FEATURES
from schema.features import VIEWS

SIZE = len(FEATURES)


def vectors(rows, side=None):
    """Rows are (exam, view, value); every feature of an image has that value."""
    exams, views, values = zip(*rows, strict=True)
    features = np.repeat(np.array(values, np.float32)[:, np.newaxis], SIZE, axis=1)
    found = exam_vectors(
        tf.constant(features),
        tf.constant([VIEWS.index(view) for view in views], tf.int32),
        tf.constant(exams, tf.int32),
        tf.constant(max(exams) + 1),
        side,
    ).numpy()
    assert found.shape == (max(exams) + 1, len(VECTOR))
    assert (found == np.repeat(found[:, ::SIZE], SIZE, axis=1)).all()
    return [dict(zip(PARTS, row, strict=True)) for row in found[:, ::SIZE].tolist()]


WHOLE = [(0, "CC_R", 1.0), (0, "CC_L", 3.0), (0, "MLO_R", 10.0), (0, "MLO_L", 30.0)]


def test_an_exam_is_the_mean_of_all_views_of_cc_and_of_mlo():
    assert vectors(WHOLE) == [{"all": 11.0, "CC": 2.0, "MLO": 20.0}]


def test_a_breast_has_its_own_vector():
    assert vectors(WHOLE, "R") == [{"all": 5.5, "CC": 1.0, "MLO": 10.0}]
    assert vectors(WHOLE, "L") == [{"all": 16.5, "CC": 3.0, "MLO": 30.0}]


def test_several_images_of_one_view_count_as_one():
    assert vectors([*WHOLE, (0, "CC_R", 3.0)]) == [{"all": 11.25, "CC": 2.5, "MLO": 20.0}]


def test_a_missing_projection_takes_the_mean_of_what_is_there():
    assert vectors([(0, "CC_R", 1.0), (0, "CC_L", 3.0)]) == [{"all": 2.0, "CC": 2.0, "MLO": 2.0}]
    assert vectors([(0, "MLO_L", 7.0)], "L") == [{"all": 7.0, "CC": 7.0, "MLO": 7.0}]


def test_a_breast_without_a_view_is_zeros():
    assert vectors([(0, "MLO_L", 7.0)], "R") == [{"all": 0.0, "CC": 0.0, "MLO": 0.0}]


def test_exams_and_images_may_come_in_any_order():
    rows = [(1, "CC_L", 5.0), *WHOLE[::-1], (1, "CC_R", 7.0)]
    assert vectors(rows) == [{"all": 11.0, "CC": 2.0, "MLO": 20.0}, {"all": 6.0, "CC": 6.0, "MLO": 6.0}]
