"""Types and geometry that both methods share: the breast's bounding box, and the muscle's edge in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BreastBox:
    """The breast's bounding box, cut from the working picture, chest wall at the left.

    Attributes:
        grey: float32 [h, w]; the breast spans about 0..1 for every scanner.
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
    """The result of a method.

    Attributes:
        status: ``removed``, ``absent`` or ``failed``; ``manual`` or ``not_applicable`` if no method ran.
        points: float64 [n, 2], x and y of the edge from the top to the chest wall, pixels of the box; empty unless
            ``removed``.
        doubt: Uncertainty of the result, 0 (certain) to 1; reviews are ordered by it.
        angle_deg: Angle between edge and chest wall, degrees.
        fit_residual: RMS distance of the edge's points from their straight line, share of the box's height.
        contrast: Median grey step across the edge, share of the breast's grey range.
        agreement: Intersection over union of the probability map and the edge's area, 0..1; 0 for ``thesis``.
        reasons: Why the status is not ``removed``, and what is unusual; sentences without a full stop.
    """

    status: str
    points: NDArray[np.float64]
    doubt: float
    angle_deg: float = 0.0
    fit_residual: float = 0.0
    contrast: float = 0.0
    agreement: float = 0.0
    reasons: tuple[str, ...] = ()


def cut_breast_box(work: NDArray[np.float32], mask: NDArray[np.bool_]) -> BreastBox:
    """Cut the breast's bounding box from the working picture, and scale its grey levels.

    Args:
        work: float32 [h, w], chest wall at the left.
        mask: bool [h, w], breast and muscle, not empty.

    Returns:
        The box.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    grey, inside = work[box], np.ascontiguousarray(mask[box])
    low, high = np.quantile(grey[inside], (0.02, 0.99), method="nearest")
    scaled = ((grey - low) / max(float(high - low), 1e-3)).astype(np.float32)
    return BreastBox(scaled, inside, int(columns[0]), int(rows[0]))


def to_full_picture(
    points: NDArray[np.float64],
    box: BreastBox,
    work_shape: tuple[int, int],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Convert coordinates in the box to coordinates in the full picture.

    Args:
        points: float64 [n, 2], x and y; whole numbers are centres of pixels.
        box: Box of the points.
        work_shape: Height and width of the working picture.
        shape: Height and width of the full picture, oriented like the working picture.

    Returns:
        float64 [n, 2].
    """
    scale = np.array([shape[1] / work_shape[1], shape[0] / work_shape[0]])
    origin = np.array([box.left + 0.5, box.top + 0.5])
    result: NDArray[np.float64] = (points + origin) * scale - 0.5
    return result


def draw_muscle(
    points: NDArray[np.float64],
    box: BreastBox,
    work_shape: tuple[int, int],
    shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """Draw the area between an edge and the upper chest-wall corner in the full picture.

    Args:
        points: float64 [n, 2], edge in pixels of the box, from top to chest wall.
        box: Box of the edge.
        work_shape: Height and width of the working picture.
        shape: Height and width of the full picture, chest wall at the left.

    Returns:
        bool [H, W]; it also covers background, so combine it with the breast's mask.
    """
    edge = to_full_picture(points, box, work_shape, shape)
    far = -float(sum(shape))
    corner = np.array([[far, edge[-1, 1]], [far, far], [edge[0, 0], far]])
    # Four fractional bits: cv2.fillPoly takes integers.
    polygon = np.rint(16 * np.concatenate([edge, corner])).astype(np.int32)
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [polygon], (1,), shift=4)
    return drawn.astype(np.bool_)


def line_residual(points: NDArray[np.float64], height: int) -> float:
    """Return the RMS distance of points from their total-least-squares line, share of the box's height."""
    centred = points - points.mean(axis=0)
    smallest = float(np.linalg.svd(centred, compute_uv=False)[-1])
    result: float = smallest / np.sqrt(len(points)) / height
    return result
