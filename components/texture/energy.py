"""The picture of what the texture model measures: the energy of its bands over the breast."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import tensorflow as tf

from components.texture.features import FEATURES, RINGS, SIGMAS
from components.texture.filters import deeper_than, gaussian_matrices, smooth

# The mean absolute value of each band but the last, which is the smoothed picture and has no structure.
BAND_FEATURES: Final = tuple(FEATURES.index(f"band_{fine}_{coarse}/mean_absolute") for fine, coarse in pairwise(SIGMAS))

_SOFT: Final = 3  # pixels; a band swings about 0, and its energy is that of a whole swing


def band_energy(images: tf.Tensor, usual: tf.Tensor) -> tf.Tensor:
    """Return where a picture has structure, summed over the bands that the texture model measures.

    It says what was measured, not which class it speaks for: half of the texture model is trees, whose votes have no
    place in a picture.

    Args:
        images: uint8 [N, S, S, 1], preprocessed: background 0.
        usual: float32 [B], mean absolute value of each band of BAND_FEATURES in the training views. A band counts in
            these units, or the coarse ones would hide the fine ones.

    Returns:
        float32 [N, S, S]: the mean over the bands, smoothed; 0 outside of the breast and at its skin, which the texture
        model does not measure. 1 is the mean of the training views.
    """
    side = images.shape[1]
    filters, soft = gaussian_matrices(side, SIGMAS[1:]), gaussian_matrices(side, (_SOFT,))

    def measure(image: tf.Tensor) -> tf.Tensor:
        picture = tf.reshape(image, (side, side))
        grey = tf.cast(picture, tf.float32)
        levels = tf.concat([grey[tf.newaxis], smooth(grey, filters)], axis=0)
        bands = tf.abs(levels[:-1] - levels[1:]) / tf.maximum(usual, 1e-6)[:, tf.newaxis, tf.newaxis]
        inside = tf.cast(deeper_than(picture > 0, [max(1, side // RINGS[0])])[0], tf.float32)
        # Smoothed inside the breast only: the mean of the neighbours that are measured.
        energy = smooth(tf.reduce_mean(bands, axis=0) * inside, soft)[0]
        return inside * tf.math.divide_no_nan(energy, smooth(inside, soft)[0])

    return tf.map_fn(measure, images, fn_output_signature=tf.TensorSpec((side, side), tf.float32))
