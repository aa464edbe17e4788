"""From pictures to the vectors that the texture model grades, in stock TensorFlow operations."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from components.texture.features import FEATURES, texture_features
from schema import features as f

# The features of a view, and its projection: 1 for MLO.
VECTOR: Final = (*FEATURES, "view/mlo")


def view_vectors(images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
    """Return the vectors of views.

    Args:
        images: uint8 [N, S, S, 1], preprocessed.
        views: int32 [N], index in VIEWS.

    Returns:
        float32 [N, D], in the order of VECTOR.
    """
    oblique = tf.gather(tf.constant([float(f.is_mlo(view)) for view in f.VIEWS]), views)
    return tf.concat([texture_features(images, views), oblique[:, tf.newaxis]], axis=1)


def exam_means(values: tf.Tensor, views: tf.Tensor, exam_rows: tf.Tensor, exams: tf.Tensor) -> tf.Tensor:
    """Return the means of exams over the views that are there; several images of one view count as one.

    Args:
        values: float32 [N, D].
        views: int32 [N], index in VIEWS.
        exam_rows: int32 [N], the exam of each image.
        exams: int32 scalar, number of exams.

    Returns:
        float32 [E, D]; zeros for an exam without a view.
    """
    slots = len(f.VIEWS)
    keys = exam_rows * slots + views
    by_view = tf.math.unsorted_segment_mean(values, keys, exams * slots)
    there = tf.math.unsorted_segment_max(tf.ones_like(keys), keys, exams * slots) > 0
    # Segments without an image have mean 0, and the lowest number as maximum.
    count = tf.reduce_sum(tf.cast(tf.reshape(there, (exams, slots, 1)), tf.float32), axis=1)
    total = tf.reduce_sum(tf.reshape(by_view, (exams, slots, values.shape[1])), axis=1)
    return tf.math.divide_no_nan(total, count)
