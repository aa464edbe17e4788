"""Draw a heat map as a separate picture, to show over the view with any opacity; without TensorFlow."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png

HEAT_OPACITY: Final = 0.45  # of the hottest spot in `components.exam_model.overlays.overlay`
COLD_SHARE: Final = 0.35  # opacity of the coldest spot, as a share of that


def heat_colours() -> NDArray[np.float32]:
    """Return the colours blue to red through cyan and yellow ("jet"): float32 [256, 3], RGB, 0..255."""
    x = np.linspace(0.0, 1.0, 256)
    channels = [1.5 - np.abs(4.0 * x - centre) for centre in (3.0, 2.0, 1.0)]
    result: NDArray[np.float32] = (np.clip(np.stack(channels, axis=1), 0.0, 1.0) * 255.0).astype(np.float32)
    return result


def blend(grey: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a heat map over a view, as the overlay of the model does.

    Args:
        grey: uint8 [H, W]; black stays black.
        heat: float32 [H, W], 0..1.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    colours = heat_colours()[np.round(np.clip(heat, 0.0, 1.0) * 255.0).astype(np.intp)]
    opacity = np.where(grey > 0, HEAT_OPACITY * (COLD_SHARE + (1.0 - COLD_SHARE) * heat), 0.0)[..., np.newaxis]
    mixed = grey[..., np.newaxis] * (1.0 - opacity) + colours * opacity
    result: NDArray[np.uint8] = np.round(mixed).astype(np.uint8)
    return result


def sum_of_maps(heatmap: NDArray[Any], texture: NDArray[Any]) -> NDArray[np.float32]:
    """Return half the networks' heat and half the texture part's energy: where either part of a model looked.

    Args:
        heatmap: float [H, W], 0..1.
        texture: float [H, W], 0..1.

    Returns:
        float32 [H, W], 0..1.
    """
    return ((np.asarray(heatmap, np.float32) + np.asarray(texture, np.float32)) / 2).astype(np.float32)


def heat_layer_png(heatmap: NDArray[Any], image_png: bytes) -> bytes:
    """Draw a heat map without the view behind it.

    Shown over the view with an opacity of ``HEAT_OPACITY``, it equals the overlay of the model.

    Args:
        heatmap: float [h, w], 0..1; resized to the view if its size differs.
        image_png: The preprocessed view, 8-bit grey PNG [H, W].

    Returns:
        PNG, RGBA [H, W]: warmer is more opaque; transparent where the view is black.

    Raises:
        ImageDecodeError: The view is not a readable PNG.
        ValueError: The heat map is not a matrix.
    """
    if heatmap.ndim != 2 or heatmap.size == 0:
        raise ValueError(f"A heat map is a matrix [H, W]. Received: shape={heatmap.shape}")
    image = decode_png(image_png)
    known = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    heat = np.clip(cv2.resize(known, image.shape[::-1], interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
    colours = heat_colours()[np.round(heat * 255.0).astype(np.intp)]
    alpha = np.where(image > 0, 255.0 * (COLD_SHARE + (1.0 - COLD_SHARE) * heat), 0.0)
    layer = np.dstack([colours[..., ::-1], alpha])
    layer[image == 0] = 0.0  # transparent pixels hold no data, and compress better
    return encode_png(np.round(layer).astype(np.uint8))
