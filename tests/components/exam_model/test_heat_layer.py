"""The heat layer of the gateway's page: over the view it is the model's own overlay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.common.png import ImageDecodeError, encode_png
from components.exam_model.heat_layer import HEAT_OPACITY, heat_layer_png
from tests.pictures import decode_picture


def layer_of(heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Decodes the layer to RGBA."""
    decoded = decode_picture(heat_layer_png(heat, encode_png(image)))
    return cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA)


def test_cold_is_blue_and_faint_hot_is_red_and_opaque_background_is_nothing() -> None:
    image = np.array([[100, 100, 100, 0]], np.uint8)
    layer = layer_of(np.array([[0.0, 0.5, 1.0, 1.0]], np.float32), image)
    assert layer[0].tolist() == [[0, 0, 128, 89], [130, 255, 126, 172], [128, 0, 0, 255], [0, 0, 0, 0]]


def test_over_the_view_it_is_the_overlay_of_the_model() -> None:
    import tensorflow as tf

    from components.exam_model.overlays import overlay

    random = np.random.default_rng(0)
    image = random.integers(0, 256, (24, 32)).astype(np.uint8)
    image[:, :8] = 0
    heat = random.random((24, 32)).astype(np.float32)
    layer = layer_of(heat, image).astype(np.float64)
    alpha = layer[..., 3:] / 255.0 * HEAT_OPACITY  # as a browser composes: PNG's alpha times CSS opacity
    composed = layer[..., :3] * alpha + image[..., np.newaxis] * (1.0 - alpha)
    [blended] = overlay(tf.constant(image[np.newaxis, ..., np.newaxis]), tf.constant(heat[np.newaxis])).numpy()
    expected = cv2.cvtColor(decode_picture(blended, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(composed - expected).max() <= 1.5


def test_a_map_of_another_size_or_with_values_that_are_none_still_covers_the_view() -> None:
    layer = layer_of(np.array([[0.0, np.nan], [np.inf, -1.0]], np.float32), np.full((8, 6), 9, np.uint8))
    assert layer.shape == (8, 6, 4)
    assert layer[..., 3].min() == 89
    assert layer[7, 0, 3] == 255


def test_what_is_no_map_or_no_view_is_refused() -> None:
    view = encode_png(np.full((4, 4), 9, np.uint8))
    with pytest.raises(ValueError, match=r"shape=\(4, 4, 1\)"):
        heat_layer_png(np.zeros((4, 4, 1), np.float32), view)
    with pytest.raises(ImageDecodeError):
        heat_layer_png(np.zeros((4, 4), np.float32), b"no picture")
