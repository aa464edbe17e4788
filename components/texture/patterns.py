"""Local binary patterns and co-occurrence matrices inside a mask, in stock TensorFlow operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import tensorflow as tf

from components.texture.measures import histogram

PATTERNS: Final = 10  # uniform patterns of 8 neighbours by their number of bright ones, 0 to 8; and all others
LEVELS: Final = 16
CO_OCCURRENCE: Final = (
    "contrast",
    "dissimilarity",
    "homogeneity",
    "asm",
    "correlation",
    "entropy",
    "contrast_by_angle",
    "correlation_by_angle",
)
_NEIGHBOURS: Final = 8
_ANGLES: Final = 4


def _offset(sine: float, distance: float) -> float:
    return round(sine * distance, 5)


def local_patterns(picture: tf.Tensor) -> tf.Tensor:
    """Return the uniform local binary pattern of each inner pixel, as ``skimage.feature.local_binary_pattern``.

    Eight neighbours on a circle of radius 1 are bright if they are at least as bright as the centre. Patterns with at
    most two changes along the circle have the number of bright neighbours as code, all others 9.

    Args:
        picture: float32 [S, S], whole numbers, so that equal greys are equal.

    Returns:
        int32 [S - 2, S - 2], 0 to 9.

    Source: Ojala, Pietikainen, Maenpaa, Multiresolution gray-scale and rotation invariant texture classification with
    local binary patterns, IEEE PAMI 24(7):971, 2002.
    """
    side = picture.shape[0]
    centre = picture[1:-1, 1:-1]

    def shifted(row: int, column: int) -> tf.Tensor:
        return picture[1 + row : side - 1 + row, 1 + column : side - 1 + column] - centre

    bright = []
    for number in range(_NEIGHBOURS):
        angle = 2 * math.pi * number / _NEIGHBOURS
        row, column = _offset(-math.sin(angle), 1), _offset(math.cos(angle), 1)
        up, left = math.floor(row), math.floor(column)
        down, right = row - up, column - left
        value = sum(
            weight * shifted(up + i, left + j)
            for i, j, weight in (
                (0, 0, (1 - down) * (1 - right)),
                (0, 1, (1 - down) * right),
                (1, 0, down * (1 - right)),
                (1, 1, down * right),
            )
            if weight
        )
        bright.append(tf.cast(value >= 0, tf.int32))
    changes = tf.add_n([tf.abs(bright[i] - bright[i - 1]) for i in range(_NEIGHBOURS)])
    return tf.where(changes <= 2, tf.add_n(bright), PATTERNS - 1)


def co_occurrence(codes: tf.Tensor, distances: Sequence[int]) -> tf.Tensor:
    """Measure co-occurrence matrices of grey levels, as ``skimage.feature.graycomatrix`` and ``graycoprops``.

    The matrices are symmetric and have a sum of 1. Pairs with a pixel outside of the breast do not count.

    Args:
        codes: int32 [S, S], 1 to 16 inside the breast, 0 outside.
        distances: Pixels, [D].

    Returns:
        float32 [D, 8], as named by CO_OCCURRENCE: means over 0, 45, 90 and 135 degrees, and for contrast and
        correlation the standard deviations over these angles.

    Source: Haralick, Shanmugam, Dinstein, Textural features for image classification, IEEE SMC 3(6):610, 1973.
    """
    side, levels = codes.shape[0], LEVELS + 1
    rows = []
    for distance in distances:
        for number in range(_ANGLES):
            angle = math.pi * number / _ANGLES
            down, right = round(math.sin(angle) * distance), round(math.cos(angle) * distance)
            left = max(-right, 0), side - max(right, 0)
            first = codes[: side - down, left[0] : left[1]]
            second = codes[down:, left[0] + right : left[1] + right]
            rows.append(tf.reshape(first * levels + second, [-1]))
    longest = max(int(row.shape[0]) for row in rows)
    pairs = tf.stack([tf.pad(row, [[0, longest - int(row.shape[0])]]) for row in rows])  # pairs of code 0 do not count
    counts = tf.reshape(histogram(pairs, tf.ones_like(pairs, tf.bool), levels**2), (len(rows), levels, levels))
    counts = counts[:, 1:, 1:]
    counts += tf.transpose(counts, (0, 2, 1))
    share = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, axis=(1, 2), keepdims=True))
    return _properties(share, len(distances))


def _properties(share: tf.Tensor, distances: int) -> tf.Tensor:
    level = tf.range(LEVELS, dtype=tf.float32)
    gap = level[:, tf.newaxis] - level[tf.newaxis, :]

    def total(weights: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(share * weights, axis=(1, 2))

    contrast = total(gap**2)
    mean = tf.reduce_sum(tf.reduce_sum(share, axis=2) * level, axis=1)
    centred = level[tf.newaxis, :] - mean[:, tf.newaxis]
    variance = tf.reduce_sum(tf.reduce_sum(share, axis=2) * centred**2, axis=1)
    covariance = tf.reduce_sum(share * centred[:, :, tf.newaxis] * centred[:, tf.newaxis, :], axis=(1, 2))
    varies = variance > 1e-6
    correlation = tf.where(varies, covariance / tf.where(varies, variance, 1.0), 1.0)
    logarithm = tf.math.log(tf.where(share > 0, share, 1.0))
    values = {
        "contrast": contrast,
        "dissimilarity": total(tf.abs(gap)),
        "homogeneity": total(1.0 / (1.0 + gap**2)),
        "asm": total(share),
        "correlation": correlation,
        "entropy": -total(logarithm),
    }
    by_angle = {name: tf.reshape(value, (distances, _ANGLES)) for name, value in values.items()}
    means = [tf.reduce_mean(by_angle[name], axis=1) for name in values]
    spreads = [tf.math.reduce_std(by_angle[name], axis=1) for name in ("contrast", "correlation")]
    return tf.stack([*means, *spreads], axis=1)
