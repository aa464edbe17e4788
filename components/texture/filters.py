"""Gaussian filters and depth from the skin, in stock TensorFlow operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy import ndimage


def gaussian_matrices(side: int, sigmas: Sequence[float]) -> NDArray[Any]:
    """Return Gaussian filters of a line as matrices; pixels beyond the picture repeat the edge.

    A filter of a square picture is ``matrix @ picture @ matrix.T``: for pictures of this size it is faster than a
    convolution, and it is scipy's filter by construction.

    Args:
        side: Length of the line, pixels.
        sigmas: Standard deviations, pixels; 0 changes nothing. [G]

    Returns:
        float64 [G, side, side].
    """
    unit = np.eye(side)
    filters = [ndimage.gaussian_filter1d(unit, sigma, axis=0, mode="nearest") if sigma else unit for sigma in sigmas]
    return np.stack(filters)


def smooth(picture: tf.Tensor, matrices: NDArray[Any]) -> tf.Tensor:
    """Filter a picture with each Gaussian: [S, S] to [G, S, S], in the precision of the picture."""
    filters = tf.constant(matrices, picture.dtype)
    return tf.matmul(tf.matmul(filters, picture), filters, transpose_b=True)


def deeper_than(breast: tf.Tensor, depths: Sequence[int]) -> tf.Tensor:
    """Mark the pixels of a breast that are deeper under the skin than some depths.

    The depth is the chessboard distance to the nearest pixel of background. The edge of the picture is no skin: there
    the breast goes on. A pixel is deeper than d if the window of 2 d + 1 pixels about it has no background.

    Args:
        breast: bool [S, S].
        depths: Pixels, [D].

    Returns:
        bool [D, S, S].
    """
    side = breast.shape[0]
    # Sums over a window are differences of cumulative sums, so the cost does not depend on the depth.
    background = tf.cast(tf.logical_not(breast), tf.float32)

    def windows(values: tf.Tensor, depth: int) -> tf.Tensor:
        sums = tf.pad(tf.cumsum(values, axis=0), [[1, 0], [0, 0]])
        first = np.maximum(np.arange(side) - depth, 0)
        last = np.minimum(np.arange(side) + depth + 1, side)
        return tf.gather(sums, last) - tf.gather(sums, first)

    def free(depth: int) -> tf.Tensor:
        return tf.transpose(windows(tf.transpose(windows(background, depth)), depth)) < 0.5

    return tf.stack([free(depth) for depth in depths])
