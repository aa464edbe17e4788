"""The pectoral muscle by method ``auto``: probability map, curve, then a verdict by evidence."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.curve import fit_curve
from components.preprocessing.network import GRID, SHIPPED, Weights, muscle_probability, on_grid
from components.preprocessing.region import MuscleEdge, Region, line_residual

# A map whose sum is below this share of breast and muscle shows no muscle.
_NOTHING: Final = 0.01
# A muscle of less or more than these shares of breast and muscle is none.
_AREA: Final = (0.005, 0.60)
# Agreement of map and curve: below the first it is no muscle's edge, at the second there is no doubt.
_AGREEMENT: Final = (0.72, 0.98)
_REACH: Final = 3.0  # pixels to either side of the edge at which grey levels are compared


def _verdict(seen: float, area: float, agreement: float) -> tuple[str, float, tuple[str, ...]]:
    """Status, doubt and reasons.

    Args:
        seen: Sum of the map, share of breast and muscle.
        area: Area of the curve, share of breast and muscle.
        agreement: Overlap of the two over their union, 0..1.
    """
    if seen < _NOTHING:
        return "absent", seen / _NOTHING, (f"no muscle in sight: {seen:.4f} of the breast, {_NOTHING} are the least",)
    if not _AREA[0] <= area <= _AREA[1]:
        return "failed", 1.0, (f"the area is no muscle's: {area:.3f} of the breast, allowed {_AREA[0]} to {_AREA[1]}",)
    if agreement < _AGREEMENT[0]:
        reason = f"what looks like muscle has no muscle's outline: agreement {agreement:.2f} is below {_AGREEMENT[0]}"
        return "failed", 1.0, (reason,)
    doubt = (_AGREEMENT[1] - agreement) / (_AGREEMENT[1] - _AGREEMENT[0])
    return "removed", min(max(doubt, 0.0), 1.0), ()


def _contrast(region: Region, points: NDArray[np.float64]) -> float:
    """Median grey step across an edge, from the breast to the muscle."""
    along = np.gradient(points, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-6)[:, np.newaxis]
    height, width = region.grey.shape
    inside = (points >= 0).all(axis=1) & (points < (width, height)).all(axis=1)
    if not inside.any():
        return 0.0
    smooth = cv2.GaussianBlur(region.grey, (0, 0), 2.0)
    grey = []
    for side in (-_REACH, _REACH):
        column, row = np.rint(points + side * normal)[inside].astype(np.intp).T
        grey.append(smooth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)])
    return float(np.median(grey[0] - grey[1]))


def _angle(points: NDArray[np.float64]) -> float:
    """Angle between the chest wall and the straight line through an edge, degrees."""
    centred = points - points.mean(axis=0)
    x, y = np.linalg.svd(centred, full_matrices=False)[2][0]
    return float(np.degrees(np.arctan2(abs(x), abs(y))))


def find_muscle(region: Region, weights: Weights = SHIPPED) -> MuscleEdge:
    """Finds the muscle's edge, or says by what evidence there is none or none can be found.

    Args:
        region: Breast and muscle of a mediolateral oblique view, chest wall at the left edge.
        weights: Network to use.

    Returns:
        ``removed`` with the edge; ``absent`` where the network sees no muscle; ``failed`` where what it sees has not
        the shape of one.

    Raises:
        WeightsError: The network's file is missing or changed.
    """
    mask = on_grid(region)[1] > 0.5
    probability = muscle_probability(region, weights)
    curve = fit_curve(probability, mask)
    within = curve.area(GRID) & mask
    tissue = max(1, int(mask.sum()))
    union = float(np.maximum(probability, within).sum())
    agreement = float(np.minimum(probability, within).sum()) / union if union > 0 else 0.0
    status, doubt, reasons = _verdict(float(probability.sum()) / tissue, float(within.sum()) / tissue, agreement)
    if status != "removed":
        return MuscleEdge(status, np.empty((0, 2)), doubt, agreement=agreement, reasons=reasons)
    height, width = region.grey.shape
    points = curve.points((height, width))
    return MuscleEdge(
        status=status,
        points=points,
        doubt=doubt,
        angle_deg=_angle(points),
        fit_residual=line_residual(points, height),
        contrast=_contrast(region, points),
        agreement=agreement,
    )
