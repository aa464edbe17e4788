"""Step 2: grey levels. Make the small working picture for the segmentation, and the 8-bit picture for the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Longest side of the working picture, pixels. Muscle and skin are large; finer detail only adds noise.
WORKING_SIDE: Final = 384
# Share of the pixels that may saturate: hot pixels and padding must not determine the scale.
_SATURATED: Final = 0.002


@dataclass(frozen=True)
class WorkingPicture:
    """The small picture for the segmentation.

    Attributes:
        grey: float32 [h, w], 0..1; longest side at most 384 pixels (never enlarged); all 0 for a constant picture.
        low: Grey level of the input that is mapped to 0.
        high: Grey level of the input that is mapped to 1.
    """

    grey: NDArray[np.float32]
    low: float
    high: float

    def input_level(self, level: float) -> float:
        """Return the grey level of the input for a grey level of the working picture."""
        return self.low + level * (self.high - self.low)


def to_working(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> WorkingPicture:
    """Reduce a picture by area averaging, and scale its grey levels to 0..1.

    Args:
        pixels: uint8 or uint16 [H, W], bright = dense.

    Returns:
        The working picture and its scale.
    """
    height, width = pixels.shape
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    low = float(small.min())
    high = float(np.quantile(small, 1 - _SATURATED, method="nearest"))
    if high <= low:
        high = float(small.max())
    if high <= low:
        return WorkingPicture(np.zeros_like(small), low, low + 1)
    return WorkingPicture(np.clip((small - low) / (high - low), 0, 1), low, high)


def to_eight_bit(pixels: NDArray[np.uint8] | NDArray[np.uint16], low: float, high: float) -> NDArray[np.uint8]:
    """Map grey levels linearly, ``low`` to 0 and ``high`` to 255; values outside saturate.

    Args:
        pixels: uint8 or uint16 [H, W].
        low: Grey level of the background.
        high: Grey level of the densest tissue.

    Returns:
        uint8 [H, W].
    """
    levels = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=np.float64)
    scaled = 255 * (levels - low) / max(high - low, 1e-6)
    table = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return table[pixels]
