"""Decoding and normalisation: the only path from PNG bytes to the input of the network.

Training, evaluation and every serving signature call these functions, so training and serving cannot differ.
"""

from __future__ import annotations

import tensorflow as tf

from components.transform.config import ImageConfig


def decode_image(png: tf.Tensor, size: int) -> tf.Tensor:
    """Decode one preprocessed view.

    Args:
        png: String scalar, an 8-bit PNG.
        size: Height and width of the result, pixels.

    Returns:
        uint8 [size, size, 1]; an image of another size is resized by area averaging.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are not a PNG (raised when the graph runs).
    """
    image = tf.io.decode_png(png, channels=1)
    shape = tf.shape(image)

    def resized() -> tf.Tensor:
        scaled = tf.image.resize(image, (size, size), method=tf.image.ResizeMethod.AREA)
        return tf.cast(tf.round(scaled), tf.uint8)

    same = tf.logical_and(tf.equal(shape[0], size), tf.equal(shape[1], size))
    return tf.ensure_shape(tf.cond(same, lambda: image, resized), (size, size, 1))


def decode_images(pngs: tf.Tensor, size: int) -> tf.Tensor:
    """Decode a batch of views: string [N] to uint8 [N, size, size, 1]."""
    return tf.map_fn(
        lambda png: decode_image(png, size),
        pngs,
        fn_output_signature=tf.TensorSpec((size, size, 1), tf.uint8),
    )


def normalise(images: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Convert grey images to the input of the network.

    Args:
        images: Grey values 0..255, any numeric type, [N, H, W, 1].
        config: Normalisation and channels.

    Returns:
        float32 [N, H, W, channels].
    """
    grey = tf.cast(images, tf.float32)
    if config.normalisation == "norm_1":
        mean, variance = tf.nn.moments(grey, axes=[1, 2, 3], keepdims=True)
        grey = (grey - mean) / tf.maximum(tf.sqrt(variance), 1.0)  # a blank image stays zero
    else:
        grey = grey * (1.0 / 255.0)
    return tf.repeat(grey, config.channels, axis=-1) if config.channels > 1 else grey
