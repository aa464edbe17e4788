"""Random zoom, shift, rotation and flip of a batch of images, drawn from a stateless seed."""

from __future__ import annotations

import math

import tensorflow as tf

from components.trainer.config import AugmentationConfig


def transform_matrices(count: tf.Tensor, size: int, config: AugmentationConfig, seed: tf.Tensor) -> tf.Tensor:
    """Draws projective transforms about the image's centre.

    Args:
        count: int32 scalar, number of images.
        size: Height and width, pixels.
        config: Largest changes.
        seed: int32 or int64 [2]; the same seed draws the same transforms.

    Returns:
        float32 [count, 8], output to input coordinates, as ``ImageProjectiveTransformV3`` takes them.
    """

    def uniform(index: int, limit: float) -> tf.Tensor:
        salted = tf.random.experimental.stateless_fold_in(seed, index)
        return tf.random.stateless_uniform([count], salted, -limit, limit)

    scale = 1.0 + uniform(0, config.zoom)
    shift_x, shift_y = uniform(1, config.shift * size), uniform(2, config.shift * size)
    angle = uniform(3, config.rotation_degrees * math.pi / 180.0)
    mirror = tf.where(uniform(4, 1.0) < 0, -1.0, 1.0) if config.horizontal_flip else tf.ones([count])
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    centre = (size - 1) / 2.0
    a, b, d, e = cos * mirror, -sin, sin * mirror, cos
    zeros = tf.zeros([count])
    return tf.stack(
        [
            a,
            b,
            centre - (a + b) * centre + shift_x,
            d,
            e,
            centre - (d + e) * centre + shift_y,
            zeros,
            zeros,
        ],
        axis=1,
    )


def augment(images: tf.Tensor, config: AugmentationConfig, seed: tf.Tensor) -> tf.Tensor:
    """Moves every image of a batch at random; what comes in from outside is background (0).

    Args:
        images: Grey values, [N, size, size, 1], uint8.
        config: Largest changes.
        seed: int32 or int64 [2]; the same seed gives the same images.

    Returns:
        float32 [N, size, size, 1], grey values 0..255.
    """
    size = images.shape[1]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transform_matrices(tf.shape(images)[0], size, config, seed),
        output_shape=(size, size),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
