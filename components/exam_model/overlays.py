"""Draw heat maps over grey images, in the graph."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from components.exam_model.heat_layer import COLD_SHARE, HEAT_OPACITY, heat_colours

_COMPRESSION: Final = 1  # six times faster than the default, and little larger


def overlay(images: tf.Tensor, heatmaps: tf.Tensor) -> tf.Tensor:
    """Blend heat maps over grey images and encode them.

    Args:
        images: uint8 [N, H, W, 1].
        heatmaps: float32 [N, H, W], 0..1. Warmer is more opaque; the background stays black.

    Returns:
        string [N], colour PNG.
    """
    colours = tf.gather(tf.constant(heat_colours()), tf.cast(tf.round(heatmaps * 255.0), tf.int32))
    grey = tf.cast(images, tf.float32)
    opacity = tf.where(images > 0, HEAT_OPACITY * (COLD_SHARE + (1.0 - COLD_SHARE) * heatmaps[..., tf.newaxis]), 0.0)
    blended = tf.cast(tf.round(grey * (1.0 - opacity) + colours * opacity), tf.uint8)
    return tf.map_fn(
        lambda image: tf.io.encode_png(image, compression=_COMPRESSION),
        blended,
        fn_output_signature=tf.TensorSpec((), tf.string),
    )
