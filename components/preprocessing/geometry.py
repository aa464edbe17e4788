"""Last step: crop, orient and resize to the network's picture; and map the network's picture back to the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.chest_wall import standard_wall_is_left
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocessed_view import PreprocessedView


@dataclass(frozen=True)
class Placement:
    """Position of the input in the network's picture, before the picture is mirrored.

    Attributes:
        rows: First and last kept row of the input, last excluded.
        columns: First and last kept column of the input, last excluded.
        height: Rows of the picture that the input fills, from the top.
        width: Columns of the picture that the input fills, from the left.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    height: int
    width: int


def compute_placement(breast: NDArray[np.bool_], config: PreprocessConfig) -> Placement:
    """Return which rows and columns of the input are kept, and their size in the network's picture.

    Args:
        breast: bool [H, W], not empty, chest wall at the left; the area to crop to.
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
    """Make the network's picture.

    Args:
        image: uint8 [H, W], background 0, chest wall at the left.
        breast: bool [H, W], not empty, the area to crop to.
        standard_left: True if the chest wall of the result is at the left; otherwise the result is mirrored.
        config: Output size, crop and aspect.

    Returns:
        uint8 [S, S], and the number of input rows per row of the picture. With ``keep_aspect`` the breast touches the
        chest-wall side and the top, and the rest is 0.
    """
    size, place = config.output_size, compute_placement(breast, config)
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


_Scalar = TypeVar("_Scalar", bound=np.generic)


def is_mirrored(view: str, result: PreprocessedView) -> bool:
    """Return True if the input had its chest wall at the right, so that it was mirrored before it was cropped."""
    return result.measurements.flipped == standard_wall_is_left(view)


def mirror_if(picture: NDArray[_Scalar], mirrored: bool) -> NDArray[_Scalar]:
    """Mirror a picture, [H, W, ...], if ``mirrored`` is True; the transform is its own inverse."""
    return picture[:, ::-1] if mirrored else picture


def placement_of(view: str, result: PreprocessedView, config: PreprocessConfig) -> Placement:
    """Return the position of the input, chest wall at the left, in the network's picture."""
    return compute_placement(mirror_if(result.breast_mask, is_mirrored(view, result)), config)


def to_input(
    picture: NDArray[np.float32], view: str, result: PreprocessedView, config: PreprocessConfig
) -> NDArray[np.float32]:
    """Map values in the network's picture to the geometry of the input: not mirrored, cropped or stretched.

    Args:
        picture: float32 [h, w], for example a heat map. It is resized to the size of the network's picture.
        view: One of ``schema.features.VIEWS``.
        result: Result of preprocessing the view; must have a breast.
        config: Configuration of that preprocessing.

    Returns:
        float32 [H, W], shaped like ``result.breast_mask``; 0 outside of the part that the network received.

    Raises:
        ValueError: The map is not a non-empty matrix.
    """
    if picture.ndim != 2 or picture.size == 0:
        raise ValueError(f"A map is a matrix [h, w]. Received: shape={picture.shape}")
    size, place = config.output_size, placement_of(view, result, config)
    square: NDArray[Any] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    content = mirror_if(square, not standard_wall_is_left(view))[: place.height, : place.width]
    kept = (place.columns[1] - place.columns[0], place.rows[1] - place.rows[0])
    whole = np.zeros(result.breast_mask.shape, np.float32)
    whole[slice(*place.rows), slice(*place.columns)] = cv2.resize(
        np.ascontiguousarray(content), kept, interpolation=cv2.INTER_LINEAR
    )
    return np.ascontiguousarray(mirror_if(whole, is_mirrored(view, result)))
