"""Last step: crop to the breast, turn to the standard side, resize to the network's square."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.config import PreprocessConfig


@dataclass(frozen=True)
class Placement:
    """Where the input lies in the network's picture, before that is mirrored.

    Attributes:
        rows: First and last row of the input that is kept, last excluded.
        columns: The same of its columns.
        height: Rows that it takes of the picture, from the top.
        width: Columns that it takes, from the left.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    height: int
    width: int


def placement(breast: NDArray[np.bool_], config: PreprocessConfig) -> Placement:
    """Decides what is kept of the input, and its size in the picture.

    Args:
        breast: bool [H, W], not empty, what is cropped to.
        config: Output size, crop and aspect.
    """
    rows, columns = (0, breast.shape[0]), (0, breast.shape[1])
    if config.crop:
        there = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
        rows, columns = ((int(lines[0]), int(lines[-1]) + 1) for lines in there)
    height, width, size = rows[1] - rows[0], columns[1] - columns[0], config.output_size
    scale = size / max(height, width)
    if not config.keep_aspect:
        return Placement(rows, columns, size, size)
    return Placement(rows, columns, max(1, round(height * scale)), max(1, round(width * scale)))


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
    size, place = config.output_size, placement(breast, config)
    image = image[slice(*place.rows), slice(*place.columns)]
    height, width = image.shape
    longest = max(height, width)
    scale_y, scale_x = (size / longest, size / longest) if config.keep_aspect else (size / height, size / width)
    target = (place.width, place.height)
    shrinks = scale_x <= 1 and scale_y <= 1
    content = cv2.resize(image, target, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    square = np.zeros((size, size), np.uint8)
    square[: content.shape[0], : content.shape[1]] = content
    return square if standard_left else np.ascontiguousarray(square[:, ::-1]), 1.0 / scale_y
