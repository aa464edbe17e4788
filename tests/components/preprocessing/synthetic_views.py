"""Views with known geometry: an elliptic breast, a muscle cut off by a straight line, a label, noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SyntheticView:
    """A picture (uint16, 12 bits used) and its ground truth, chest wall at the left."""

    pixels: NDArray[np.uint16]
    breast: NDArray[np.bool_]
    muscle: NDArray[np.bool_]


MakeView = Callable[..., SyntheticView]
Dice = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]


def draw_view(
    height: int = 640,
    width: int = 480,
    angle_deg: float = 28.0,
    foot: float = 0.5,
    muscle_grey: float = 0.8,
    breast_grey: float = 0.45,
    floor: float = 0.04,
    label: bool = True,
    seed: int = 0,
) -> SyntheticView:
    """Draw a view.

    ``foot`` is where the muscle's line meets the chest wall, as a share of the height; angle 0 is no muscle.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    breast = ((x / (0.72 * width)) ** 2 + ((y / height - 0.48) / 0.46) ** 2) < 1
    breast |= (x < 0.55 * width) & (y < 0.5 * height)  # axillary tail
    muscle = np.zeros_like(breast)
    if angle_deg > 0:
        muscle = breast & (y < foot * height - x / np.tan(np.radians(angle_deg)))
    texture = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), height / 60)
    picture = np.where(breast, breast_grey + 0.06 * texture / texture.std(), floor)
    picture = np.where(muscle, muscle_grey, picture)
    picture = cv2.GaussianBlur(picture, (0, 0), height / 300) + rng.normal(0, 0.012, picture.shape)
    if label:
        top, left = height // 12, round(0.82 * width)
        picture[top : top + height // 20, left : left + width // 8] = 0.95
    return SyntheticView(np.clip(4095 * picture, 0, 4095).astype(np.uint16), breast, muscle)


def dice_of(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks; 1 for two empty masks."""
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
