"""Combine the probabilities of views to the grade of an exam, as a TensorFlow graph.

The same rule on numpy arrays: `components.statistics.combination` and `calibration`.
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from schema import features as f

_CLASSES: Final = len(f.DENSITY_CLASSES)
_SLOTS: Final = len(f.VIEWS)


def apply_temperature(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Apply softmax(log(p) / temperature).

    Args:
        probabilities: float32 [N, 4]; rows of zeros stay zeros.
        temperature: Above 0.

    Returns:
        float32 [N, 4].
    """
    if temperature == 1.0:
        return probabilities
    powers = tf.pow(probabilities, 1.0 / temperature)
    return tf.math.divide_no_nan(powers, tf.reduce_sum(powers, axis=1, keepdims=True))


def grade_exams(
    probabilities: tf.Tensor,
    views: tf.Tensor,
    exam_rows: tf.Tensor,
    exams: tf.Tensor,
    temperature: float,
    minimum_views: int,
) -> dict[str, tf.Tensor]:
    """Combine images to exams: the mean of the present views, calibrated.

    Args:
        probabilities: Probabilities of each image, float32 [N, 4].
        views: int32 [N], index in VIEWS. Several images of one view count as one: their mean.
        exam_rows: int32 [N], the exam of each image.
        exams: int32 scalar, number of exams.
        temperature: Applied after combination.
        minimum_views: Exams with fewer views get no grade.

    Returns:
        probabilities, raw_probabilities (before the temperature), right_probabilities and left_probabilities, float32
        [E, 4]; density string [E]; view_count int32 [E]; missing_views string [E], names with a space between; reason
        string [E], why there is no grade. Without a grade, density is empty and all probabilities are 0. So are the
        probabilities of a breast without a view.
    """
    keys = exam_rows * _SLOTS + views
    by_view = tf.math.unsorted_segment_mean(probabilities, keys, exams * _SLOTS)
    images = tf.math.unsorted_segment_sum(tf.ones_like(keys), keys, exams * _SLOTS)
    by_view = tf.reshape(by_view, (exams, _SLOTS, _CLASSES))
    there = tf.reshape(images > 0, (exams, _SLOTS))
    count = tf.reduce_sum(tf.cast(there, tf.int32), axis=1)
    graded = count >= minimum_views

    def mean_of(side: str | None) -> tf.Tensor:
        wanted = tf.constant([side in (None, f.laterality_of(view)) for view in f.VIEWS])
        mask = tf.cast(tf.logical_and(tf.logical_and(there, wanted), graded[:, tf.newaxis]), tf.float32)
        return tf.math.divide_no_nan(
            tf.reduce_sum(by_view * mask[..., tf.newaxis], axis=1), tf.reduce_sum(mask, axis=1, keepdims=True)
        )

    raw = mean_of(None)
    calibrated = apply_temperature(raw, temperature)
    missing = tf.where(there, "", tf.constant([f"{view} " for view in f.VIEWS]))
    missing = tf.strings.strip(tf.strings.reduce_join(missing, axis=1))
    reason = tf.strings.join(
        [
            "The exam has ",
            tf.strings.as_string(count),
            f" of {_SLOTS} views and a grade needs at least {minimum_views}: add ",
            tf.strings.regex_replace(missing, " ", ", "),
            ".",
        ]
    )
    return {
        "probabilities": calibrated,
        "raw_probabilities": raw,
        "density": tf.where(graded, density_names(calibrated), ""),
        "right_probabilities": apply_temperature(mean_of("R"), temperature),
        "left_probabilities": apply_temperature(mean_of("L"), temperature),
        "view_count": count,
        "missing_views": missing,
        "reason": tf.where(graded, "", reason),
    }


def density_names(probabilities: tf.Tensor) -> tf.Tensor:
    """Return the likeliest class: float32 [N, 4] to string [N]."""
    return tf.gather(tf.constant(f.DENSITY_CLASSES), tf.argmax(probabilities, axis=1))
