"""Steps 1 to 4 for any method: working picture, patient, hanging, region of interest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.preprocessing.background import Foreground, find_foreground
from components.preprocessing.grey import Working, to_working
from components.preprocessing.orientation import wall_is_left


@dataclass(frozen=True)
class Located:
    """A picture hung with its chest wall at the left, and the patient in it.

    Attributes:
        pixels: uint8 or uint16 [H, W], the input, mirrored where its chest wall was at the right.
        mirrored: Whether it was.
        work: The small picture in which things are found.
        foreground: The patient in ``work``; its ``reason`` tells why there is none.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    mirrored: bool
    work: Working
    foreground: Foreground


def locate(pixels: NDArray[np.uint8] | NDArray[np.uint16], view: str) -> Located:
    """Finds the patient and hangs the picture with the chest wall at the left.

    Args:
        pixels: uint8 or uint16 [H, W], bright = dense. Read only.
        view: View name, which decides where both sides look alike.

    Returns:
        The hung picture; as it came where no breast was found.
    """
    work = to_working(pixels)
    foreground = find_foreground(work.grey)
    if foreground.reason or wall_is_left(foreground.mask, view):
        return Located(pixels, False, work, foreground)
    # All over again on the mirrored pixels: both hangings of a picture must give the same bytes.
    pixels = pixels[:, ::-1].copy()
    work = to_working(pixels)
    return Located(pixels, True, work, find_foreground(work.grey))
