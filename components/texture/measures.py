"""Statistics of the pixels inside a mask, in stock TensorFlow operations.

Quantiles come from histograms, because sorting a picture costs more than all other features together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import tensorflow as tf

GREYS: Final = 256
BAND_BINS: Final = 2048
BINS_PER_GREY: Final = 4
_SMALLEST_VARIANCE: Final = 1e-3  # below it a shape is rounding noise


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return the mean inside a mask; 0 for an empty mask.

    Args:
        values: float32 [..., S, S].
        mask: float32, 0 or 1, of a shape that broadcasts to that of the values.
    """
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask, axis=(-2, -1)), tf.reduce_sum(mask, axis=(-2, -1)))


def masked_moments(values: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return mean, standard deviation, skewness and excess kurtosis inside a mask, each [...].

    A variance below .001 counts as constant: skewness and kurtosis are 0.

    Args:
        values: float32 [..., S, S].
        mask: float32, 0 or 1, as in :func:`masked_mean`.
    """
    mean = masked_mean(values, mask)
    centred = (values - mean[..., tf.newaxis, tf.newaxis]) * mask
    squared = centred * centred
    variance = masked_mean(squared, mask)
    third, fourth = masked_mean(squared * centred, mask), masked_mean(squared * squared, mask)
    varies = variance > _SMALLEST_VARIANCE
    safe = tf.where(varies, variance, 1.0)
    skewness = tf.where(varies, third / (safe * tf.sqrt(safe)), 0.0)
    kurtosis = tf.where(varies, fourth / (safe * safe) - 3.0, 0.0)
    return mean, tf.sqrt(variance), skewness, kurtosis


def histogram(codes: tf.Tensor, mask: tf.Tensor, bins: int) -> tf.Tensor:
    """Count the codes inside a mask.

    Args:
        codes: int32 [R, P], 0 to ``bins`` - 1.
        mask: bool [P] or [R, P].
        bins: Number of codes.

    Returns:
        float32 [R, bins].
    """
    rows = codes.shape[0]
    outside = tf.constant(rows * bins, tf.int32)
    shifted = codes + tf.range(rows, dtype=tf.int32)[:, tf.newaxis] * bins
    flat = tf.reshape(tf.where(mask, shifted, outside), [-1])
    counts = tf.math.bincount(flat, minlength=rows * bins + 1, maxlength=rows * bins + 1)
    return tf.cast(tf.reshape(counts[:-1], (rows, bins)), tf.float32)


def grey_quantiles(counts: tf.Tensor, shares: Sequence[float]) -> tf.Tensor:
    """Return quantiles of grey values from their histogram, exactly as ``numpy.quantile`` of the pixels.

    Args:
        counts: float32 [256].
        shares: Shares in 0..1, [Q].

    Returns:
        float32 [Q]; zeros for an empty histogram.
    """
    below = tf.cumsum(counts)
    last = tf.maximum(below[-1] - 1.0, 0.0)
    place = tf.constant(list(shares), tf.float32) * last
    first = tf.floor(place)
    low = tf.searchsorted(below, first, side="right")
    high = tf.searchsorted(below, tf.minimum(first + 1.0, last), side="right")
    low, high = (tf.cast(tf.minimum(value, GREYS - 1), tf.float32) for value in (low, high))
    return tf.where(below[-1] > 0, low + (high - low) * (place - first), 0.0)


def shares_above(counts: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """Return the share of pixels above levels, linear between grey values.

    Args:
        counts: float32 [256], histogram of grey values; a pixel of grey g is spread over g - .5 to g + .5.
        levels: float32 [L], grey values.

    Returns:
        float32 [L], 0..1; zeros for an empty histogram.
    """
    below = tf.concat([[0.0], tf.cumsum(counts)], axis=0)
    place = tf.clip_by_value(levels + 0.5, 0.0, float(GREYS))
    first = tf.cast(tf.minimum(tf.floor(place), GREYS - 1.0), tf.int32)
    part = place - tf.cast(first, tf.float32)
    counted = tf.gather(below, first) + part * tf.gather(counts, first)
    return tf.math.divide_no_nan(below[-1] - counted, below[-1])


def band_quantiles(bands: tf.Tensor, mask: tf.Tensor, shares: Sequence[float]) -> tf.Tensor:
    """Return quantiles of filtered pictures from histograms with four bins per grey level, linear within a bin.

    They differ from the quantiles of the pixels by less than a bin, .25 grey levels. A pixel is divided between the two
    nearest bins, so that its last bits do not move it from one to the next.

    Args:
        bands: float32 [B, S, S], -255..255.
        mask: float32 [S, S], 0 or 1.
        shares: Shares in 0..1, [Q].

    Returns:
        float32 [B, Q]; zeros for an empty mask.
    """
    number = bands.shape[0]
    place = tf.clip_by_value(tf.reshape(bands, (number, -1)) * BINS_PER_GREY + BAND_BINS / 2, 0.0, BAND_BINS - 2.0)
    first = tf.floor(place)
    weight = tf.reshape(mask, (1, -1))
    second = (place - first) * weight
    rows = tf.cast(first, tf.int32) + tf.range(number, dtype=tf.int32)[:, tf.newaxis] * BAND_BINS
    codes = tf.reshape(tf.stack([rows, rows + 1]), [-1])
    weights = tf.reshape(tf.stack([weight - second, second]), [-1])
    counts = tf.math.unsorted_segment_sum(weights, codes, number * BAND_BINS)
    counts = tf.cast(tf.reshape(counts, (number, BAND_BINS)), tf.float64)  # a sum of many small parts
    below = tf.cumsum(counts, axis=1)
    total = tf.cast(tf.reduce_sum(mask), tf.float64)
    wanted = tf.broadcast_to(tf.constant(list(shares), tf.float64) * total, (number, len(shares)))
    found = tf.minimum(tf.searchsorted(below, wanted, side="left"), BAND_BINS - 1)
    inside = tf.gather(counts, found, batch_dims=1)
    before = tf.gather(below, found, batch_dims=1) - inside
    edge = (tf.cast(found, tf.float64) - (BAND_BINS / 2 + 0.5)) / BINS_PER_GREY
    value = edge + tf.math.divide_no_nan(wanted - before, inside) / BINS_PER_GREY
    return tf.where(total > 0, tf.cast(value, tf.float32), 0.0)
