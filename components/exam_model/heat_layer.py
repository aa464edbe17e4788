"""A heat map as a picture of its own, to lay over the view with any opacity; no TensorFlow."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png

HEAT_OPACITY: Final = 0.45  # of the hottest spot in `components.exam_model.overlays.overlay`
COLD_SHARE: Final = 0.35  # share of it that the coldest spot has


def heat_colours() -> NDArray[np.float32]:
    """Blue to red through cyan and yellow ("jet"): float32 [256, 3], RGB, 0..255."""
    x = np.linspace(0.0, 1.0, 256)
    channels = [1.5 - np.abs(4.0 * x - centre) for centre in (3.0, 2.0, 1.0)]
    return (np.clip(np.stack(channels, axis=1), 0.0, 1.0) * 255.0).astype(np.float32)


def blend(grey: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lays a heat map over a view, as the model's own overlay does.

    Args:
        grey: uint8 [H, W]; where it is black, it stays black.
        heat: float32 [H, W], 0..1.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    colours = heat_colours()[np.round(np.clip(heat, 0.0, 1.0) * 255.0).astype(np.intp)]
    opacity = np.where(grey > 0, HEAT_OPACITY * (COLD_SHARE + (1.0 - COLD_SHARE) * heat), 0.0)[..., np.newaxis]
    mixed = grey[..., np.newaxis] * (1.0 - opacity) + colours * opacity
    return np.round(mixed).astype(np.uint8)


def heat_layer_png(heatmap: np.ndarray, image_png: bytes) -> bytes:
    """Draws a heat map without the view behind it.

    Shown over the view with an opacity of ``HEAT_OPACITY``, it is the model's overlay.

    Args:
        heatmap: Grad-CAM, float [h, w], 0..1; of another size than the view it is stretched over it.
        image_png: The preprocessed view, 8-bit grey PNG [H, W].

    Returns:
        PNG, RGBA [H, W]: the warmer, the more opaque; transparent where the view is black.

    Raises:
        ImageDecodeError: The view is no readable PNG.
        ValueError: The heat map is no matrix.
    """
    if heatmap.ndim != 2 or heatmap.size == 0:
        raise ValueError(f"A heat map is a matrix [H, W]. Received: shape={heatmap.shape}")
    image = decode_png(image_png)
    known = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    heat = np.clip(cv2.resize(known, image.shape[::-1], interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
    colours = heat_colours()[np.round(heat * 255.0).astype(np.intp)]
    alpha = np.where(image > 0, 255.0 * (COLD_SHARE + (1.0 - COLD_SHARE) * heat), 0.0)
    layer = np.dstack([colours[..., ::-1], alpha])
    layer[image == 0] = 0.0  # nothing hides in what is transparent, and it packs better
    return encode_png(np.round(layer).astype(np.uint8))
