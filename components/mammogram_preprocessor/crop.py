"""Last step: crop to the breast, turn to the standard side, resize to the network's square."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from components.mammogram_preprocessor.config import PreprocessConfig


def to_square(
    image: NDArray[np.uint8], breast: NDArray[np.bool_], standard_left: bool, config: PreprocessConfig
) -> tuple[NDArray[np.uint8], float]:
    """Makes the network's picture.

    Args:
        image: uint8 [H, W], background 0, chest wall at the left.
        breast: bool [H, W], not empty, what is cropped to.
        standard_left: Whether the chest wall of the result is at the left; otherwise it is mirrored.
        config: Output size, crop and aspect.

    Returns:
        uint8 [S, S], and how many rows of the input one row of it stands for. With ``keep_aspect`` the breast touches
        the chest-wall side and the top, and the rest is 0.
    """
    size = config.output_size
    if config.crop:
        rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
        image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = image.shape
    longest = max(height, width)
    scale_y, scale_x = (size / longest, size / longest) if config.keep_aspect else (size / height, size / width)
    target = (max(1, round(width * scale_x)), max(1, round(height * scale_y)))
    shrinks = scale_x <= 1 and scale_y <= 1
    content = cv2.resize(image, target, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    square = np.zeros((size, size), np.uint8)
    square[: content.shape[0], : content.shape[1]] = content
    return square if standard_left else np.ascontiguousarray(square[:, ::-1]), 1.0 / scale_y
