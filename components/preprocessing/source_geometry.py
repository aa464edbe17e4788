"""The way back: what lies in the network's picture, in the geometry of the input."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.config import PreprocessConfig
from components.preprocessing.crop import Placement, placement
from components.preprocessing.orientation import standard_wall_is_left
from components.preprocessing.result import PreprocessedView

_Scalar = TypeVar("_Scalar", bound=np.generic)


def is_mirrored(view: str, result: PreprocessedView) -> bool:
    """Tells whether the input had its chest wall at the right, so that it was mirrored before it was placed."""
    return result.figures.flipped == standard_wall_is_left(view)


def hung(picture: NDArray[_Scalar], mirrored: bool) -> NDArray[_Scalar]:
    """Mirrors a picture, [H, W, ...], where it is to be; the way there is the way back."""
    return picture[:, ::-1] if mirrored else picture


def placed(view: str, result: PreprocessedView, config: PreprocessConfig) -> Placement:
    """Tells where the input, hung with its chest wall at the left, lies in the network's picture."""
    return placement(hung(result.breast_mask, is_mirrored(view, result)), config)


def to_input(
    picture: NDArray[np.float32], view: str, result: PreprocessedView, config: PreprocessConfig
) -> NDArray[np.float32]:
    """Lays a map over the network's picture back over the input: not mirrored, not cropped, not stretched.

    Args:
        picture: float32 [h, w], such as a heat map; of another size than the network's picture it is stretched to it.
        view: One of ``schema.features.VIEWS``.
        result: What preprocessing gave for the view; with a breast.
        config: As it was preprocessed.

    Returns:
        float32 [H, W], shaped like ``result.breast_mask``; 0 where the network saw nothing of the input.

    Raises:
        ValueError: The map is no matrix.
    """
    if picture.ndim != 2 or picture.size == 0:
        raise ValueError(f"A map is a matrix [h, w]. Received: shape={picture.shape}")
    size, place = config.output_size, placed(view, result, config)
    square: NDArray[Any] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    content = hung(square, not standard_wall_is_left(view))[: place.height, : place.width]
    kept = (place.columns[1] - place.columns[0], place.rows[1] - place.rows[0])
    whole = np.zeros(result.breast_mask.shape, np.float32)
    whole[slice(*place.rows), slice(*place.columns)] = cv2.resize(
        np.ascontiguousarray(content), kept, interpolation=cv2.INTER_LINEAR
    )
    return np.ascontiguousarray(hung(whole, is_mirrored(view, result)))
