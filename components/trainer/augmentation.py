"""Random zoom, shift, rotation and flip of a batch of images, from a stateless seed."""

from __future__ import annotations

import math

import tensorflow as tf

from components.trainer.config import AugmentationConfig


def transform_matrices(count: tf.Tensor, size: int, config: AugmentationConfig, seed: tf.Tensor) -> tf.Tensor:
    """Draw random projective transforms about the centre of the image.

    Args:
        count: int32 scalar, number of images.
        size: Height and width, pixels.
        config: Largest changes.
        seed: int32 or int64 [2]; equal seeds give equal transforms.

    Returns:
        float32 [count, 8], from output to input coordinates, in the form of ``ImageProjectiveTransformV3``: zoom, then
        shift, then rotation. Keras' ``ImageDataGenerator``, which trained the reference, has the same order.
    """

    def uniform(index: int, limit: float) -> tf.Tensor:
        salted = tf.random.experimental.stateless_fold_in(seed, index)
        return tf.random.stateless_uniform([count], salted, -limit, limit)

    zoom_x = 1.0 + uniform(0, config.zoom)
    zoom_y = 1.0 + uniform(5, config.zoom) if config.zoom_axes == "apart" else zoom_x
    shift_x, shift_y = uniform(1, config.shift * size), uniform(2, config.shift * size)
    angle = uniform(3, config.rotation_degrees * math.pi / 180.0)
    mirror = tf.where(uniform(4, 1.0) < 0, -1.0, 1.0) if config.horizontal_flip else tf.ones([count])
    cos, sin = tf.cos(angle), tf.sin(angle)
    centre = (size - 1) / 2.0
    a, b, d, e = cos * zoom_x * mirror, -sin * zoom_y, sin * zoom_x * mirror, cos * zoom_y
    zeros = tf.zeros([count])
    return tf.stack(
        [
            a,
            b,
            centre - (a + b) * centre + cos * shift_x - sin * shift_y,
            d,
            e,
            centre - (d + e) * centre + sin * shift_x + cos * shift_y,
            zeros,
            zeros,
        ],
        axis=1,
    )


def augment(
    images: tf.Tensor,
    config: AugmentationConfig,
    seed: tf.Tensor,
    first: tf.Tensor | int = 0,
    batch: tf.Tensor | int | None = None,
) -> tf.Tensor:
    """Apply a random transform to each image of a batch.

    Args:
        images: Grey values, [N, size, size, 1], uint8.
        config: Largest changes.
        seed: int32 or int64 [2]; equal seeds give equal images.
        first: Position of the first image in a batch that several replicas share.
        batch: Number of images of that batch; None means N.

    Returns:
        float32 [N, size, size, 1], grey values 0..255.
    """
    size, count = images.shape[1], tf.shape(images)[0]
    drawn = transform_matrices(count if batch is None else batch, size, config, seed)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=drawn[first : first + count],
        output_shape=(size, size),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST" if config.fill == "nearest" else "CONSTANT",
    )
