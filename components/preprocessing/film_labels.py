"""Film labels that touch the breast: plates with the clinic's name and the exam's date, which must not pass as tissue.

Tissue at the skin is thin, so its grey fades gradually towards the background. Lettering does the opposite: saturated
white within a few pixels of black, over an area as wide as high, at the border of what seemed to be the breast. Figures
were chosen on the 1,144 DDSM browse films, where labels that touch have at least 19 % saturated and 13 % dark pixels
and the hardest tissue, the rim of a dense breast, 4 % saturated ones.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Grey range within 5 x 5 pixels of lettering, its share of the picture's range.
_HARD: Final = 0.4
# Lettering is at least this wide (pixels of 384): lines of any length, such as the skin's or a film's edge, are not.
_WIDTH: Final = 9 / 384
# Lettering this far apart is on one label, pixels of 384.
_GAP: Final = 16 / 384
# Less than this share of the longest side's square is calcifications, clips, crossing folds.
_AREA: Final = 0.0035
# White and black, and how much of lettering is at least so.
_WHITE, _MOST_WHITE = 0.9, 0.12
_BLACK, _MOST_BLACK = 0.35, 0.1
# Most of a label lies within this distance of the background, share of the longest side.
_REACH, _MOST_NEAR = 32 / 384, 0.6
# What is cut off is this much larger than the lettering: the plate's rim, pixels of 384.
_RIM: Final = 4 / 384


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _is_lettering(part: NDArray[np.bool_], work: NDArray[np.float32], near: NDArray[np.bool_]) -> bool:
    greys = work[part]
    return bool(
        near[part].mean() >= _MOST_NEAR
        and (greys > _WHITE).mean() >= _MOST_WHITE
        and (greys < _BLACK).mean() >= _MOST_BLACK
    )


def touching_labels(work: NDArray[np.float32], mask: NDArray[np.uint8], inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Finds labels in what was taken for the breast.

    Args:
        work: float32 [h, w], grey 0..1.
        mask: uint8 [h, w], 1 where the breast seems to be.
        inside: uint8 [h, w], 0 on film edges and scanner frames, which are no background.

    Returns:
        uint8 [h, w], 1 on the convex hulls of lettering; mostly all 0.
    """
    side = max(work.shape)
    eight_bit = (255 * work).astype(np.uint8)
    square = np.ones((5, 5), np.uint8)
    steep = cv2.morphologyEx(eight_bit, cv2.MORPH_GRADIENT, square) > 255 * _HARD
    hard = steep.astype(np.uint8) & mask & inside
    labels, least = np.zeros(mask.shape, np.uint8), _AREA * side * side
    if np.count_nonzero(hard) < least / 2:
        return labels  # the usual case, quickly
    joined = cv2.morphologyEx(hard, cv2.MORPH_CLOSE, _disc(2))
    compact = cv2.morphologyEx(joined, cv2.MORPH_OPEN, _disc(max(1, round(_WIDTH * side / 2))))
    compact = cv2.morphologyEx(compact, cv2.MORPH_CLOSE, _disc(max(1, round(_GAP * side / 2))))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(compact, connectivity=8)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= least]
    if not large:
        return labels
    near = cv2.distanceTransform(1 - (inside & (1 - mask)), cv2.DIST_L2, 3) < _REACH * side
    for part in large:
        if _is_lettering(parts == part, work, near):
            points = np.argwhere(parts == part)[:, ::-1].astype(np.int32)
            cv2.fillConvexPoly(labels, cv2.convexHull(points), (1,))
    return cv2.dilate(labels, _disc(max(1, round(_RIM * side)))).astype(np.uint8)
