"""From the texture features of views to the vector of an exam, in stock TensorFlow operations."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from components.texture.features import FEATURES
from schema import features as f

# The vector of an exam: the mean of all views, of the CC views and of the MLO views.
PARTS: Final = {
    "all": f.VIEWS,
    "CC": tuple(view for view in f.VIEWS if not f.is_mlo(view)),
    "MLO": tuple(view for view in f.VIEWS if f.is_mlo(view)),
}
VECTOR: Final = tuple(f"{part}/{name}" for part in PARTS for name in FEATURES)


def exam_vectors(
    features: tf.Tensor, views: tf.Tensor, exam_rows: tf.Tensor, exams: tf.Tensor, side: str | None = None
) -> tf.Tensor:
    """Combine the features of views to vectors of exams, or of breasts.

    Several images of one view count as one: their mean. A projection without a view takes the mean of all views that
    are there, so a missing projection is no outlier. The combination is the same in training and in the exported model.

    Args:
        features: float32 [N, F], see :func:`components.texture.features.texture_features`.
        views: int32 [N], index in VIEWS.
        exam_rows: int32 [N], the exam of each image.
        exams: int32 scalar, number of exams.
        side: R or L for one breast; None for all views.

    Returns:
        float32 [E, 3 F], in the order of VECTOR; zeros for an exam without a view.
    """
    slots, size = len(f.VIEWS), len(FEATURES)
    keys = exam_rows * slots + views
    by_view = tf.reshape(tf.math.unsorted_segment_mean(features, keys, exams * slots), (exams, slots, size))
    images = tf.math.unsorted_segment_sum(tf.ones_like(keys), keys, exams * slots)
    there = tf.reshape(images > 0, (exams, slots))

    def mean_of(names: tuple[str, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        wanted = tf.constant([view in names and side in (None, f.laterality_of(view)) for view in f.VIEWS])
        mask = tf.cast(tf.logical_and(there, wanted), tf.float32)[..., tf.newaxis]
        count = tf.reduce_sum(mask, axis=1)
        return tf.math.divide_no_nan(tf.reduce_sum(by_view * mask, axis=1), count), count > 0

    whole, _ = mean_of(f.VIEWS)
    means = [mean_of(names) for names in PARTS.values()]
    return tf.concat([tf.where(any_there, mean, whole) for mean, any_there in means], axis=1)
