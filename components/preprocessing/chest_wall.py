"""Find the chest wall, and mirror a picture so that the chest wall is at the left.

The standard orientation is that of a viewing station: the right breast has its chest wall at the right edge of the
picture, the left breast at the left edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.preprocessing.background import Foreground, find_foreground
from components.preprocessing.grey_levels import WorkingPicture, to_working
from schema.features import laterality_of

# Share of the breast's width that is compared at each side.
_SIDE: Final = 0.25
# If the sides differ by less than this share of the breast's height, the view's name decides.
_CLEAR: Final = 0.05


def standard_wall_is_left(view: str) -> bool:
    """Return True if a view in standard orientation has its chest wall at the left edge."""
    return laterality_of(view) == "L"


def wall_is_left(mask: NDArray[np.bool_], view: str) -> bool:
    """Return True if the chest wall is at the left edge: the breast is tall there, and narrows towards the nipple.

    Args:
        mask: bool [h, w], breast and muscle, not empty.
        view: View name, which decides if both sides are alike.
    """
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(1, round(_SIDE * box.shape[1]))
    tall_left = float(box[:, :side].mean())
    tall_right = float(box[:, -side:].mean())
    if abs(tall_left - tall_right) < _CLEAR:
        return standard_wall_is_left(view)
    return tall_left > tall_right


@dataclass(frozen=True)
class OrientedView:
    """A picture with its chest wall at the left, and the patient in it.

    Attributes:
        pixels: uint8 or uint16 [H, W], the input, mirrored if its chest wall was at the right.
        mirrored: True if the input was mirrored.
        work: The working picture of ``pixels``.
        foreground: The patient in ``work``; its ``reason`` explains why no breast was found.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    mirrored: bool
    work: WorkingPicture
    foreground: Foreground


def orient_chest_wall_left(pixels: NDArray[np.uint8] | NDArray[np.uint16], view: str) -> OrientedView:
    """Find the patient, and mirror the picture if the chest wall is at the right.

    Args:
        pixels: uint8 or uint16 [H, W], bright = dense. Read only.
        view: View name, which decides if both sides are alike.

    Returns:
        The oriented picture; unchanged if no breast was found.
    """
    work = to_working(pixels)
    foreground = find_foreground(work.grey)
    if foreground.reason or wall_is_left(foreground.mask, view):
        return OrientedView(pixels, False, work, foreground)
    # Repeat everything on the mirrored pixels: a picture and its mirror image must give the same bytes.
    pixels = pixels[:, ::-1].copy()
    work = to_working(pixels)
    return OrientedView(pixels, True, work, find_foreground(work.grey))
