"""Find implants: a large, even, very bright area with a sharp convex edge inside the breast.

Glandular tissue is bright too, but its edge is ragged and its grey uneven. The pectoral muscle is even and has a
straight edge, but is widest at the top of the picture. The breast itself is even and convex, but becomes darker at its
rim. An implant has an even grey, is widest in the middle and ends within a few millimetres. So the outline of the
bright area hardly depends on the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.pictures.field import Field, Grey, Mask, PictureFinding, disc, parts_of, quantile, quantiles
from components.dicom.rejections import RejectionReason

# Smallest longest side for finding implants: with fewer pixels every edge is sharp.
_LEAST_SIDE: Final = 256
# Thresholds, share of the way from air to the brightest tissue.
_LEVELS: Final = (0.45, 0.55, 0.65, 0.75, 0.85, 0.92)
# Area of an implant, share of the tissue.
_AREA: Final = (0.05, 0.9)
# A smaller area, share of the tissue, can be a mass, a cyst or a pacemaker. The rim of a displaced implant is along the
# chest wall with this share of its height, and is as high as this share of the tissue.
_SMALL, _ALONG_WALL, _HIGH = 0.16, 0.5, 0.22
# A small area nearer to the upper or lower end of the picture, share of it, is muscle or a pacemaker.
_FROM_END: Final = 0.04
# Its width at the upper end, share of its largest width: the muscle's is 1.
_TOP: Final = 0.7
# Its outline is deeper under the skin than this, share of the longest side (otherwise it is the rim of the breast).
_DEPTH: Final = 5 / 192
# Brighter than its surroundings by this share of the way from air to the brightest tissue.
_CONTRAST: Final = 0.15


@dataclass(frozen=True)
class _Kind:
    """Limits that belong together: the less even the inside, the sharper and deeper the edge must be.

    Attributes:
        convex: Smallest area divided by the area of the convex hull.
        edge: Smallest step within two pixels across three quarters of the outline, share of the contrast.
        uneven: Largest span of the middle four fifths of its greys, share of the contrast.
        deep: Smallest share of the outline that is deep under the skin.
        largest: Largest share of the tissue.
        sure: The image is rejected; otherwise it gets a remark.
    """

    convex: float
    edge: float
    uneven: float
    deep: float
    largest: float
    sure: bool = True


_KINDS: Final = (
    _Kind(convex=0.96, edge=0.60, uneven=0.28, deep=0.75, largest=0.3),
    _Kind(convex=0.95, edge=0.45, uneven=0.18, deep=0.75, largest=0.5),
    _Kind(convex=0.95, edge=0.35, uneven=0.14, deep=0.50, largest=0.5),
    _Kind(convex=0.94, edge=0.30, uneven=0.10, deep=0.50, largest=0.5),
    _Kind(convex=0.95, edge=0.45, uneven=0.10, deep=0.40, largest=0.75),
    # Hardly any standard view has such an area.
    _Kind(convex=0.90, edge=0.60, uneven=0.25, deep=0.50, largest=0.6, sure=False),
    _Kind(convex=0.93, edge=0.35, uneven=0.20, deep=0.50, largest=0.6, sure=False),
    _Kind(convex=0.92, edge=0.30, uneven=0.15, deep=0.40, largest=0.68, sure=False),
)
_LEAST_CONVEX: Final = min(kind.convex for kind in _KINDS)


def _box(tissue: Mask) -> tuple[slice, slice]:
    """Return the box of the tissue, with a margin for the smoothing of outlines."""
    left, top, width, height = cv2.boundingRect(tissue)
    return slice(max(0, top - 3), top + height + 3), slice(max(0, left - 3), left + width + 3)


def _outline(part: Mask) -> tuple[NDArray[np.int32], float]:
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    convex = cv2.contourArea(contour) / max(cv2.contourArea(cv2.convexHull(contour)), 1.0)
    return np.asarray(contour[:, 0, :], dtype=np.int32), float(convex)


def _lies_along_wall(part: Mask, top: int, height: int, tissue: Mask) -> bool:
    ends = _FROM_END * len(part)
    if top < ends or top + height > len(part) - ends:
        return False
    if height <= _HIGH * np.count_nonzero(tissue.any(axis=1)):
        return False
    sides = part[top : top + height, :2], part[top : top + height, -2:]
    return bool(max(np.count_nonzero(side.any(axis=1)) for side in sides) > _ALONG_WALL * height)


def _maps(field: Field) -> tuple[Grey, Grey]:
    """Return the depth under the skin, and the steepest slope of the grey within a pixel."""
    padded = cv2.copyMakeBorder(field.tissue, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    slope = cv2.dilate(field.slope, np.ones((3, 3), np.uint8))
    return np.asarray(depth, dtype=np.float32), np.asarray(slope, dtype=np.float32)


def _kind_of(
    part: Mask, outline: NDArray[np.int32], convex: float, field: Field, depth: Grey, slope: Grey, span: float
) -> _Kind | None:
    """Return the first kind of implant that a bright part fits."""
    rows, columns = part.shape
    x, y = outline[:, 0], outline[:, 1]
    free = (x > 2) & (x < columns - 3) & (y > 2) & (y < rows - 3)
    deep = free & (depth[y, x] > _DEPTH * field.side)
    if not deep.any():
        return None
    share = np.count_nonzero(deep) / np.count_nonzero(free)
    size = cv2.countNonZero(part) / cv2.countNonZero(field.tissue)
    kinds = [kind for kind in _KINDS if convex > kind.convex and share > kind.deep and size < kind.largest]
    if not kinds:
        return None
    around = (cv2.dilate(part, disc(6)) > cv2.dilate(part, disc(2))) & (field.tissue > 0)
    contrast = quantile(field.grey[part > 0], 0.5) - (quantile(field.grey[around], 0.5) if around.any() else field.air)
    if contrast < _CONTRAST * span:
        return None
    edge = 3 * quantile(slope[y[deep], x[deep]], 0.25) / contrast
    if edge <= min(kind.edge for kind in kinds):
        return None
    inner = field.grey[cv2.erode(part, disc(3)) > 0]
    if inner.size < 20:
        return None
    low, high = quantiles(inner, 0.1, 0.9)
    uneven = (high - low) / contrast
    return next((kind for kind in kinds if edge > kind.edge and uneven < kind.uneven), None)


def implant_finding(field: Field) -> PictureFinding | None:
    """Find an implant.

    Args:
        field: Small copy of the picture, with tissue.

    Returns:
        The special case and the evidence; None if there is none. Displaced implants are not distinguished from others.
    """
    if field.fine_side < _LEAST_SIDE:
        return None
    area = cv2.countNonZero(field.tissue)
    brightest = quantile(field.grey[field.tissue > 0], 0.99)
    span = brightest - field.air
    possible: PictureFinding | None = None
    maps: tuple[Grey, Grey] | None = None
    box = _box(field.tissue)
    grey, tissue = field.grey[box], field.tissue[box]
    for level in _LEVELS:
        bright = (grey > field.air + level * span) & tissue
        if cv2.countNonZero(bright) <= _AREA[0] * area:
            break  # higher levels leave less
        bright = np.asarray(cv2.morphologyEx(bright, cv2.MORPH_OPEN, disc(2)), dtype=np.uint8)
        if cv2.countNonZero(bright) <= _AREA[0] * area:
            break
        labels, sizes = parts_of(bright)
        for number in 1 + np.flatnonzero((sizes[1:] > _AREA[0] * area) & (sizes[1:] < _AREA[1] * area)):
            size = int(sizes[number])
            part = np.zeros_like(field.tissue)
            part[box] = labels == number
            left, top, width, height = cv2.boundingRect(part)
            if size < _SMALL * area and not _lies_along_wall(part, top, height, field.tissue):
                continue
            widths = np.count_nonzero(part[top : top + height], axis=1)
            if widths[:3].mean() > _TOP * widths.max():
                continue
            outline, convex = _outline(part)
            if convex <= _LEAST_CONVEX:
                continue
            maps = maps or _maps(field)
            kind = _kind_of(part, outline, convex, field, *maps, span)
            if kind and (kind.sure or possible is None):
                first, last = (round(field.top + row * field.scale) for row in (top, top + height))
                before, behind = (round(field.left + column * field.scale) for column in (left, left + width))
                text = f"even bright area with a sharp convex edge, {size / area:.0%} of the tissue"
                place = f"rows {first} to {last}, columns {before} to {behind}"
                possible = PictureFinding(RejectionReason.IMPLANT_PRESENT, f"{text}, {place}", kind.sure)
                if kind.sure:
                    return possible
    return possible
