"""Refinement of ``auto``: the muscle's edge is bent on many images, so the line becomes a curve.

The picture is sampled on a ribbon along the line; the path of the strongest grey step down the ribbon is
found by dynamic programming, held near the line by a weak spring and smooth by a limited slope.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from components.mammogram_preprocessor.edge import Line
from components.mammogram_preprocessor.region import Region

# Half width of the ribbon, share of the region's height.
_RIBBON: Final = 0.06
_SIGMA: Final = 1.5  # noise reduction, pixels
_CLIP: Final = 0.06  # grey step a pixel beyond which an edge counts no more
_SPRING: Final = 0.6  # cost of lying at the ribbon's border, in full edges a pixel
_STRIDE: Final = 2  # pixels between the ribbon's rows
_BEND: Final = 0.4  # cost of a sidestep of one pixel
_SMOOTH: Final = 6.0  # pixels, along the finished path


def _shortest_path(cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """Cheapest path from the first row to the last, one column a row, sidesteps of at most one column."""
    rows, columns = cost.shape
    came = np.zeros((rows, columns), np.intp)
    reach = np.full((3, columns), np.inf)  # cost of arriving straight, from the left, from the right
    sidestep = np.array([0, -1, 1])
    everywhere = np.arange(columns)
    total = cost[0]
    for row in range(1, rows):
        reach[0] = total
        reach[1, 1:] = total[:-1] + _BEND
        reach[2, :-1] = total[1:] + _BEND
        choice = reach.argmin(axis=0)
        came[row] = sidestep[choice]
        total = reach[choice, everywhere] + cost[row]
    path = np.empty(rows, np.intp)
    path[-1] = int(total.argmin())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = path[row] + came[row, path[row]]
    return path


def refine(region: Region, line: Line) -> NDArray[np.float64]:
    """Follows the muscle's edge near a line.

    Args:
        region: Breast and muscle, chest wall at the left edge.
        line: Where to look.

    Returns:
        float64 [n, 2], x and y of the edge from above the region's top to beyond the chest wall, pixels.
    """
    half = max(3, round(_RIBBON * region.grey.shape[0]))
    length = float(np.hypot(line.top, line.foot))
    along_x, along_y = -line.top / length, line.foot / length
    normal_x, normal_y = along_y, -along_x
    # The ribbon starts above the top and ends beyond the chest wall, so that the path can leave the picture.
    along = np.arange(-half, np.ceil(length) + half + 1, _STRIDE)
    offset = np.arange(-half, half + 1)
    x = (line.top + along[:, None] * along_x + offset * normal_x).astype(np.float32)
    y = (along[:, None] * along_y + offset * normal_y).astype(np.float32)

    smooth = cv2.GaussianBlur(region.grey, (0, 0), _SIGMA)
    ribbon = cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = region.mask.astype(np.float32)
    tissue = cv2.remap(inside, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    step = -np.gradient(ribbon, axis=1)
    strength = np.where(tissue > 0.99, np.clip(step / _CLIP, 0, 1), 0)
    path = _shortest_path(_SPRING * (offset / half) ** 2 - strength)
    smooth_path = gaussian_filter1d(offset[path].astype(np.float64), _SMOOTH / _STRIDE, mode="nearest")
    return np.stack(
        [
            line.top + along * along_x + smooth_path * normal_x,
            along * along_y + smooth_path * normal_y,
        ],
        axis=1,
    )
