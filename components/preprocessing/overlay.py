"""Overlays: what was found, drawn over the input for people."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import encode_png
from components.preprocessing.grey import to_eight_bit
from components.preprocessing.result import PreprocessedView

_LONGEST: Final = 512
_BACKGROUND_BLUR: Final = 16.0  # pixels; letters of a film label are some 20 high
_BREAST_BGR: Final = (0, 200, 255)
_MUSCLE_BGR: Final = (60, 60, 255)
_MANUAL_BGR: Final = (80, 200, 60)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)


def grey_picture(pixels: np.ndarray, breast: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Makes a picture that people can look at.

    Args:
        pixels: uint8 or uint16 [H, W].
        breast: bool [H, W]; all outside is blurred beyond reading, because film labels may name the patient. None
            leaves it as it is.

    Returns:
        uint8 [H, W].
    """
    low, high = np.quantile(pixels, (0.01, 0.995), method="nearest")
    picture = to_eight_bit(pixels, float(low), float(high))
    if breast is None:
        return picture
    scale = max(1.0, max(picture.shape) / _LONGEST)
    blurred = cv2.GaussianBlur(picture, (0, 0), _BACKGROUND_BLUR * scale)
    return np.where(breast, picture, blurred).astype(np.uint8)


def overlay_png(pixels: np.ndarray, result: PreprocessedView, *, hide_background: bool = False) -> bytes:
    """Draws what was found over the input.

    Args:
        pixels: uint8 or uint16 [H, W], the input of ``preprocess_view``.
        result: What it gave.
        hide_background: Blur all that is outside the breast, where film labels may name the patient.

    Returns:
        PNG bytes, colour, longest side at most 512 pixels: breast outlined in yellow, muscle tinted red, or green where
        a person outlined it.
    """
    height, width = pixels.shape
    scale = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype)
    breast, muscle = (
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for mask in (result.breast_mask, result.pectoral_mask)
    )
    grey = grey_picture(small, breast > 0 if hide_background else None)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    colour = _MANUAL_BGR if result.status == "manual" else _MUSCLE_BGR
    tint = np.array(colour, np.float64)
    picture[muscle > 0] = (0.75 * picture[muscle > 0] + 0.25 * tint).astype(np.uint8)
    _outline(picture, breast, _BREAST_BGR)
    _outline(picture, muscle, colour)
    return encode_png(picture)
