"""Convert masks to polygons and polygons to masks.

Coordinates are those of labelme, SVG and canvas: x to the right, y down, in pixels from the image's upper left corner.
The centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.review.problems import ReviewError, ReviewProblem

Polygon = tuple[tuple[float, float], ...]

MAX_POINTS: Final = 2000
_TOLERANCES: Final = (1.0, 0.5)  # pixels
_FRACTION_BITS: Final = 4  # cv2.fillPoly takes integers
_OUTSIDE: Final = 1.0  # pixels; editors allow points just outside of the border


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def crosses_itself(points: NDArray[np.float64]) -> bool:
    """Return True if two sides of a closed polygon cross; touching does not count.

    Args:
        points: float64 [n, 2].
    """
    ends = np.roll(points, -1, axis=0)
    sides = ends - points
    for index in range(len(points) - 2):
        rest = slice(index + 2, None)
        start, side = points[index], sides[index]
        apart = _cross(side, points[rest] - start) * _cross(side, ends[rest] - start) < 0
        around = _cross(sides[rest], start - points[rest]) * _cross(sides[rest], start + side - points[rest]) < 0
        if (apart & around).any():
            return True
    return False


def _simplified(contour: NDArray[Any]) -> NDArray[np.float64]:
    """Simplify an outline, unless the result would cross itself or collapse, for example at a thin spur."""
    for tolerance in _TOLERANCES:
        points = cv2.approxPolyDP(contour, tolerance, True)[:, 0].astype(np.float64)
        if len(points) > 2 and not crosses_itself(points):
            return points
    return contour[:, 0].astype(np.float64)


def mask_to_polygons(mask: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Outline a mask with few points.

    Args:
        mask: bool [H, W]. Holes are filled, and parts of one or two pixels are ignored.

    Returns:
        Closed polygons, largest first, without crossings. ``polygons_to_mask`` restores the mask to within one pixel.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        points = _simplified(contour)
        if len(points) > 2:
            polygons.append(tuple((float(x) + 0.5, float(y) + 0.5) for x, y in points))
    return tuple(polygons)


def polygons_to_mask(polygons: tuple[Polygon, ...], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw polygons: the pixels inside, and the pixels on the outline.

    Args:
        polygons: Closed polygons.
        shape: Rows and columns.

    Returns:
        bool [H, W].
    """
    drawn = np.zeros(shape, np.uint8)
    for polygon in polygons:  # one by one: in one call, the intersection of two polygons would be outside
        points = np.rint((np.array(polygon) - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(drawn, [points], (1,), shift=_FRACTION_BITS)
    return drawn.astype(np.bool_)


def check_polygon(polygon: Polygon) -> None:
    """Check a polygon without its image.

    Raises:
        ReviewError: The polygon has fewer than three or more than ``MAX_POINTS`` points, or crosses itself.
    """
    if not 3 <= len(polygon) <= MAX_POINTS:
        raise ReviewError(
            ReviewProblem.BAD_POLYGON,
            f"A polygon needs 3 to {MAX_POINTS} points; draw it again. Received: {len(polygon)} points",
        )
    if crosses_itself(np.array(polygon, np.float64)):
        raise ReviewError(
            ReviewProblem.BAD_POLYGON,
            "The polygon's outline crosses itself, so its inside is not defined; draw it again.",
        )


def check_inside(polygon: Polygon, shape: tuple[int, int]) -> None:
    """Check that a polygon is in the image.

    Raises:
        ReviewError: A point is more than one pixel outside.
    """
    height, width = shape
    for x, y in polygon:
        if not (-_OUTSIDE <= x <= width + _OUTSIDE and -_OUTSIDE <= y <= height + _OUTSIDE):
            raise ReviewError(
                ReviewProblem.OUTSIDE_IMAGE,
                f"Points must lie in the image of {width} columns and {height} rows; draw it on the exported image."
                f" Received: x={x:g}, y={y:g}",
            )
