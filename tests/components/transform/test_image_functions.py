"""Decoding, resizing and normalisation, compared with numpy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from components.transform.config import ImageConfig
from components.transform.images import decode_image, decode_images, normalise


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def grey(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)


def test_an_image_of_the_right_size_is_decoded_unaltered() -> None:
    image = grey(48)
    np.testing.assert_array_equal(decode_image(tf.constant(png(image)), 48)[..., 0], image)


def test_a_larger_image_is_averaged_over_areas() -> None:
    image = grey(96)
    means = image.reshape(32, 3, 32, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(decode_image(tf.constant(png(image)), 32)[..., 0], np.round(means))


def test_uneven_and_oblong_images_equal_opencvs_area_averaging() -> None:
    image = grey(100)[:, :75]
    theirs = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    ours = decode_image(tf.constant(png(image)), 32).numpy()[..., 0]
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_a_batch_keeps_its_order() -> None:
    images = [grey(40, 1), grey(64, 2), grey(40, 3)]
    batch = decode_images(tf.constant([png(image) for image in images]), 40)
    assert batch.shape == (3, 40, 40, 1)
    assert batch.dtype == tf.uint8
    np.testing.assert_array_equal(batch[0, ..., 0], images[0])
    np.testing.assert_array_equal(batch[2, ..., 0], images[2])


@pytest.mark.parametrize("garbage", [b"", b"no picture", png(grey(40))[:200]])
def test_garbage_is_an_error(garbage: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_images(tf.constant([garbage]), 32)


def test_norm_1_has_mean_zero_and_deviation_one_for_each_image() -> None:
    images = np.stack([grey(32, 1), grey(32, 2) // 4]).astype(np.float64)
    expected = (images - images.mean(axis=(1, 2), keepdims=True)) / images.std(axis=(1, 2), keepdims=True)
    config = ImageConfig(size=32, normalisation="norm_1")
    ours = normalise(tf.constant(images[..., None].astype(np.uint8)), config)
    assert ours.dtype == tf.float32
    np.testing.assert_allclose(ours[..., 0], expected, atol=1e-4)


def test_norm_1_of_a_blank_image_is_zero() -> None:
    blank = tf.fill((1, 32, 32, 1), tf.constant(7, tf.uint8))
    np.testing.assert_array_equal(normalise(blank, ImageConfig(size=32, normalisation="norm_1")), 0.0)


def test_norm_2_divides_by_255_and_three_channels_are_equal() -> None:
    image = grey(32)
    one = normalise(tf.constant(image[None, ..., None]), ImageConfig(size=32)).numpy()
    np.testing.assert_allclose(one[0, ..., 0], image / 255.0, atol=1e-7)
    three = normalise(tf.constant(image[None, ..., None]), ImageConfig(size=32, channels=3)).numpy()
    assert three.shape == (1, 32, 32, 3)
    for channel in range(3):
        np.testing.assert_array_equal(three[..., channel], one[..., 0])
