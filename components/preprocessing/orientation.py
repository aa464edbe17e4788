"""Orientation: on which side the chest wall is, and how to turn a flipped export to the standard one.

Standard here is the hanging of a viewing station: the right breast has its chest wall at the right edge of
the picture, the left breast at the left edge.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schema.features import laterality_of

# Share of the breast's width, from either side, that is compared.
_SIDE: Final = 0.25
# The sides must differ by this share of the breast's height, otherwise the view's name decides.
_CLEAR: Final = 0.05


def standard_wall_is_left(view: str) -> bool:
    """Tells whether the standard picture of a view has the chest wall at its left edge."""
    return laterality_of(view) == "L"


def wall_is_left(mask: NDArray[np.bool_], view: str) -> bool:
    """Tells on which side the chest wall is: where the breast is tall, not where it tapers to the nipple.

    Args:
        mask: bool [h, w], breast and muscle, not empty.
        view: View name, which decides where both sides look alike.

    Returns:
        True for the left edge.
    """
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(1, round(_SIDE * box.shape[1]))
    tall_left = float(box[:, :side].mean())
    tall_right = float(box[:, -side:].mean())
    if abs(tall_left - tall_right) < _CLEAR:
        return standard_wall_is_left(view)
    return tall_left > tall_right
