"""Check the inputs of a request, but for its pictures, as a TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf

from schema import features as f


def checked_views(view: tf.Tensor, image_bytes: tf.Tensor) -> tf.Tensor:
    """Return the indices of view names.

    Args:
        view: string [N].
        image_bytes: string [N].

    Returns:
        int32 [N], index in VIEWS.

    Raises:
        tf.errors.InvalidArgumentError: A view is unknown, or the lengths differ (raised when the graph runs).
    """
    matches = tf.equal(view[:, tf.newaxis], tf.constant(f.VIEWS)[tf.newaxis, :])
    checks = [
        _same_length(view, image_bytes),
        tf.debugging.assert_equal(
            tf.reduce_all(tf.reduce_any(matches, axis=1)),
            True,
            message=f"Unknown view: it must be one of {', '.join(f.VIEWS)}.",
        ),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.argmax(tf.cast(matches, tf.int32), axis=1, output_type=tf.int32)


def exams_of(exam_id: tf.Tensor, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the exams, string [E], in the order of their first image, and the exam of each image, int32 [N].

    Args:
        exam_id: string [N].
        image_bytes: string [N].

    Raises:
        tf.errors.InvalidArgumentError: The lengths differ (raised when the graph runs).
    """
    check = _same_length(exam_id, image_bytes)
    with tf.control_dependencies([check] if check is not None else []):
        exams, rows = tf.unique(exam_id)
    return exams, rows


def asked_classes(target_class: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
    """Mark the requested classes.

    Args:
        target_class: string [N] or [1]: A, B, C or D; empty for none.
        views: [N].

    Returns:
        bool [N, 4]; a row without True requests none.

    Raises:
        tf.errors.InvalidArgumentError: A class is unknown (raised when the graph runs).
    """
    target_class = tf.broadcast_to(target_class, tf.shape(views))
    matches = tf.equal(target_class[:, tf.newaxis], tf.constant(f.DENSITY_CLASSES)[tf.newaxis, :])
    known = tf.logical_or(tf.reduce_any(matches, axis=1), tf.equal(target_class, ""))
    check = tf.debugging.assert_equal(
        tf.reduce_all(known),
        True,
        message=f"Unknown target_class: it must be empty or one of {', '.join(f.DENSITY_CLASSES)}.",
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(matches)


def _same_length(tensor: tf.Tensor, image_bytes: tf.Tensor) -> tf.Operation | None:
    """Return the check that there is an entry for each image; None if it was done at once."""
    return tf.debugging.assert_equal(
        tf.shape(tensor)[0],
        tf.shape(image_bytes)[0],
        message="Each input needs one entry an image: they differ in length.",
    )
