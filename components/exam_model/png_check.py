"""Check the pictures of a request before they are decoded, as a TensorFlow graph.

A picture of another form would be graded as something that preprocessing never makes, and a small PNG can declare a
picture that costs seconds and gigabytes to decode. The check reads only the header of each PNG.

Source: Portable Network Graphics (PNG) Specification, second edition, ISO/IEC 15948:2003, 5.2 and 11.2.2.
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf

LARGEST_REQUEST: Final = 4096  # pictures; larger requests are rejected
_SMALLEST_SIDE: Final = 32
_LARGEST_FACTOR: Final = 4
_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_HEADER: Final = len(_START) + 10  # width, height, bit depth, colour type


def allowed_sides(size: int) -> tuple[int, int]:
    """Return the smallest and the largest side of a picture, pixels, for networks of an input size."""
    return min(_SMALLEST_SIDE, size), _LARGEST_FACTOR * size


def checked_pngs(pngs: tf.Tensor, size: int) -> tf.Tensor:
    """Return the pictures if all of them can be decoded within the contract.

    Args:
        pngs: string [N].
        size: Height and width of the networks' input, pixels.

    Returns:
        The same, string [N].

    Raises:
        tf.errors.InvalidArgumentError: A picture is not an 8-bit grey PNG, its size is not allowed, or there are too
            many pictures or pixels in all (raised when the graph runs).
    """
    header = tf.io.decode_raw(pngs, tf.uint8, fixed_length=_HEADER)
    start = tf.reduce_all(tf.equal(header[:, : len(_START)], tf.constant(list(_START), tf.uint8)), axis=1)
    numbers = tf.cast(header[:, len(_START) :], tf.int64)
    powers = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    width = tf.reduce_sum(numbers[:, :4] * powers, axis=1)
    height = tf.reduce_sum(numbers[:, 4:8] * powers, axis=1)
    grey = tf.logical_and(tf.equal(numbers[:, 8], 8), tf.equal(numbers[:, 9], 0))
    low, high = allowed_sides(size)
    fits = tf.logical_and(tf.minimum(width, height) >= low, tf.maximum(width, height) <= high)
    checks = [
        _require(tf.size(pngs) <= LARGEST_REQUEST, f"A request has at most {LARGEST_REQUEST} pictures."),
        _require(tf.reduce_all(tf.logical_and(start, grey)), "Each picture must be an 8-bit grey PNG."),
        _require(tf.reduce_all(fits), f"Each side of a picture must have {low} to {high} pixels."),
    ]
    with tf.control_dependencies(checks):
        # After the sides are checked, the sum cannot overflow.
        total = _require(
            tf.reduce_sum(tf.identity(width) * height) <= LARGEST_REQUEST * size * size,
            f"The pictures of a request must have at most {LARGEST_REQUEST * size * size} pixels in all.",
        )
        with tf.control_dependencies([total]):
            return tf.identity(pngs)


def _require(condition: tf.Tensor, message: str) -> tf.Operation:
    return tf.debugging.Assert(condition, [message])
