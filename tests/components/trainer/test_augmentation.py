"""Random geometry: limits, centre, mirroring, repeatability."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy.preprocessing.image import apply_affine_transform

from components.trainer.augmentation import augment, transform_matrices
from components.trainer.config import AugmentationConfig

SIZE = 64
STILL = AugmentationConfig(zoom=0, shift=0, rotation_degrees=0)


def blobs(count: int) -> np.ndarray:
    """Return images [N, SIZE, SIZE, 1] with a soft, asymmetric blob near the middle."""
    rows, columns = np.indices((SIZE, SIZE))
    blob = 200 * np.exp(-(((rows - 30) / 5.0) ** 2 + ((columns - 36) / 8.0) ** 2))
    return np.repeat(blob.astype(np.uint8)[None, :, :, None], count, axis=0)


def seed(*values: int) -> tf.Tensor:
    return tf.constant(values, tf.int64)


def test_zero_limits_change_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1)).astype(np.uint8)
    moved = augment(tf.constant(images), STILL, seed(1, 2))
    assert moved.dtype == tf.float32
    np.testing.assert_allclose(moved.numpy(), images, atol=1e-3)


def test_a_flip_mirrors_about_half_of_the_images_exactly() -> None:
    images = blobs(200)
    moved = augment(tf.constant(images), STILL.model_copy(update={"horizontal_flip": True}), seed(1, 2)).numpy()
    mirrored = [np.allclose(m, i[:, ::-1], atol=1e-2) for m, i in zip(moved, images, strict=True)]
    kept = [np.allclose(m, i, atol=1e-2) for m, i in zip(moved, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


def test_equal_seeds_give_equal_images_and_others_do_not() -> None:
    images = tf.constant(blobs(4))
    first = augment(images, AugmentationConfig(), seed(5, 6)).numpy()
    np.testing.assert_array_equal(first, augment(images, AugmentationConfig(), seed(5, 6)).numpy())
    assert (first != augment(images, AugmentationConfig(), seed(5, 7)).numpy()).any()
    assert (first[0] != first[1]).any(), "each image of a batch is moved in its own way"


@pytest.mark.parametrize("limits", [{"shift": 0.1}, {"rotation_degrees": 30.0}])
def test_shift_and_rotation_keep_the_mean_grey(limits: dict[str, float]) -> None:
    images = blobs(32)
    moved = augment(tf.constant(images), STILL.model_copy(update=limits), seed(3, 4)).numpy()
    np.testing.assert_allclose(moved.mean(axis=(1, 2, 3)), images.mean(), rtol=0.02)
    assert moved.min() >= 0
    assert moved.max() <= 255


def test_limits_hold_and_are_used() -> None:
    config = AugmentationConfig(zoom=0.2, shift=0.1, rotation_degrees=10)
    rows = transform_matrices(tf.constant(2000), SIZE, config, seed(1, 1)).numpy()
    a, b, _, d, e, _, *perspective = rows.T
    assert not np.any(perspective)
    scale = np.sqrt(a * e - b * d)
    angle = np.degrees(np.arctan2(d, a))
    centre = (SIZE - 1) / 2
    moved = np.stack([rows[:, 0:3], rows[:, 3:6]], axis=1) @ [centre, centre, 1] - centre
    back = np.radians(-angle)  # the shift comes before the rotation
    rotations = np.array([[np.cos(back), -np.sin(back)], [np.sin(back), np.cos(back)]])
    shift = np.einsum("ijn,nj->ni", rotations, moved)
    for values, limit in ((scale - 1, 0.2), (angle, 10), (shift, 0.1 * SIZE)):
        assert np.abs(values).max() <= limit * 1.0001
        assert np.abs(values).max() > limit * 0.98
        assert abs(values.mean()) < limit * 0.06


def test_the_published_augmentation_is_keras_image_data_generators() -> None:
    images = blobs(5) + np.arange(SIZE, dtype=np.uint8)[None, :, None, None]  # no even border
    config = AugmentationConfig(zoom_axes="apart", fill="nearest")
    rows = transform_matrices(5, SIZE, config, seed(2, 3)).numpy().astype(float)
    moved = augment(tf.constant(images), config, seed(2, 3)).numpy()
    centre = (SIZE - 1) / 2
    for image, ours, (a, b, c, d, e, g, _, _) in zip(images, moved, rows, strict=True):
        angle = np.arctan2(d, a)
        x, y = a * centre + b * centre + c - centre, d * centre + e * centre + g - centre
        zooms = {"zx": np.hypot(a, d), "zy": np.hypot(b, e)}
        assert abs(zooms["zx"] - zooms["zy"]) > 0.01
        theirs = apply_affine_transform(
            image.astype(np.float32),
            theta=np.degrees(angle),
            tx=np.cos(angle) * x + np.sin(angle) * y,
            ty=-np.sin(angle) * x + np.cos(angle) * y,
            **zooms,
            row_axis=0,
            col_axis=1,
            channel_axis=2,
        )
        np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_the_geometry_is_opencvs_for_the_same_matrix() -> None:
    images = blobs(3)
    config = AugmentationConfig(zoom=0.2, shift=0.1, rotation_degrees=20)
    moved = augment(tf.constant(images), config, seed(8, 9)).numpy()
    for image, ours, row in zip(images, moved, transform_matrices(3, SIZE, config, seed(8, 9)).numpy(), strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        theirs = cv2.warpAffine(image[..., 0].astype(np.float32), row[:6].reshape(2, 3), (SIZE, SIZE), flags=flags)
        np.testing.assert_allclose(ours[..., 0], theirs, atol=2.0)  # OpenCV rounds positions to 1/32 pixel
