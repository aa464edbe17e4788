"""The region in which the muscle is looked for: the breast's box, chest wall at the left, one grey scale."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """The breast's bounding box cut out of the working picture.

    Attributes:
        grey: float32 [h, w]; the breast spans about 0..1, whatever the scanner.
        mask: bool [h, w], breast and muscle.
        left: Column of the box in the working picture.
        top: Row of the box in the working picture.
    """

    grey: NDArray[np.float32]
    mask: NDArray[np.bool_]
    left: int
    top: int


@dataclass(frozen=True)
class MuscleEdge:
    """What a method found in a region, and how sure it is.

    Attributes:
        status: ``removed``, ``absent`` or ``failed``.
        points: float64 [n, 2], x and y of the edge from the top to the chest wall, pixels of the region; empty
            unless ``removed``.
        doubt: 0 (sure) to 1, for the order of a review.
        angle_deg: Angle between edge and chest wall, degrees.
        fit_residual: RMS distance of the edge's points from their straight line, share of the region's height.
        contrast: Median grey step across the edge, share of the breast's grey range.
        agreement: How far the muscle's probability map agrees with the edge, 0..1; 0 for ``thesis``.
        reasons: Why it is not ``removed``, or what was odd; sentences without a full stop.
    """

    status: str
    points: NDArray[np.float64]
    doubt: float
    angle_deg: float = 0.0
    fit_residual: float = 0.0
    contrast: float = 0.0
    agreement: float = 0.0
    reasons: tuple[str, ...] = ()


def cut_region(work: NDArray[np.float32], mask: NDArray[np.bool_]) -> Region:
    """Cuts the breast's bounding box out and scales its grey levels.

    Args:
        work: float32 [h, w], chest wall at the left.
        mask: bool [h, w], breast and muscle, not empty.

    Returns:
        The region.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    grey, inside = work[box], np.ascontiguousarray(mask[box])
    low, high = np.quantile(grey[inside], (0.02, 0.99), method="nearest")
    scaled = ((grey - low) / max(float(high - low), 1e-3)).astype(np.float32)
    return Region(scaled, inside, int(columns[0]), int(rows[0]))


def in_full_picture(
    points: NDArray[np.float64],
    region: Region,
    work_shape: tuple[int, int],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Turns pixels of the region into pixels of the full picture.

    Args:
        points: float64 [n, 2], x and y; whole numbers are centres of pixels.
        region: Where the points lie.
        work_shape: Height and width of the working picture.
        shape: Height and width of the full picture, hung like the working picture.

    Returns:
        float64 [n, 2].
    """
    scale = np.array([shape[1] / work_shape[1], shape[0] / work_shape[0]])
    origin = np.array([region.left + 0.5, region.top + 0.5])
    return (points + origin) * scale - 0.5


def draw_muscle(
    points: NDArray[np.float64],
    region: Region,
    work_shape: tuple[int, int],
    shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """Draws the area between an edge and the upper chest-wall corner in the full picture.

    Args:
        points: float64 [n, 2], edge in the region's pixels, from top to chest wall.
        region: Where the edge was found.
        work_shape: Height and width of the working picture.
        shape: Height and width of the full picture, chest wall at the left.

    Returns:
        bool [H, W]; also covers background, so combine it with the breast's mask.
    """
    edge = in_full_picture(points, region, work_shape, shape)
    far = -float(sum(shape))
    corner = np.array([[far, edge[-1, 1]], [far, far], [edge[0, 0], far]])
    # Four fractional bits: cv2.fillPoly takes integers.
    polygon = np.rint(16 * np.concatenate([edge, corner])).astype(np.int32)
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [polygon], (1,), shift=4)
    return drawn.astype(np.bool_)


def line_residual(points: NDArray[np.float64], height: int) -> float:
    """RMS distance of points from their total-least-squares line, share of the region's height."""
    centred = points - points.mean(axis=0)
    smallest = float(np.linalg.svd(centred, compute_uv=False)[-1])
    return smallest / np.sqrt(len(points)) / height
