"""Find the pectoral muscle with method ``thesis``: steps 4 to 7 as published, threshold and straight line.

Source: C. Scapicchio, "A deep Convolutional Neural Network classifier for breast density assessment", University of
Pisa 2021, slides "Pectoral muscle segmentation", "Thresholding segmentation", "Marching squares algorithm". The slides
describe the steps without numbers; the thresholds below are ours.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.muscle_edge import BreastBox, MuscleEdge, line_residual

# Step 4: region of interest at the upper chest-wall corner, shares of the breast's height and width.
_ROI: Final = (0.6, 0.75)
# Step 5: side of the median filter, pixels of the working picture.
_MEDIAN: Final = 7
# The muscle must cover this share of the corner block, whose sides are a tenth of the box's sides.
_CORNER: Final = 0.3
_MAX_RESIDUAL: Final = 0.06
_AREA: Final = (0.005, 0.55)


def _no_edge(status: str, reason: str) -> MuscleEdge:
    doubt = 1.0 if status == "failed" else 0.5
    return MuscleEdge(status, np.empty((0, 2)), doubt, reasons=(reason,))


def _corner_component(bright: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the bright component in the upper chest-wall corner, or None."""
    _, labels = cv2.connectedComponents(bright, connectivity=4)
    corner = labels[: max(3, bright.shape[0] // 10), : max(3, bright.shape[1] // 10)]
    counts = np.bincount(corner.ravel(), minlength=2)
    label = 1 + int(np.argmax(counts[1:]))
    if counts[label] < _CORNER * corner.size:
        return None
    result: NDArray[np.uint8] | None = (labels == label).astype(np.uint8)
    return result


def find_edge_thesis(box: BreastBox) -> MuscleEdge:
    """Find the muscle's edge as a straight line.

    Args:
        box: Breast and muscle of a mediolateral oblique view, chest wall at the left edge.

    Returns:
        ``removed`` with the line; ``absent`` if the corner is not bright; ``failed`` if no plausible line fits the edge
        of the bright area.
    """
    height, width = box.grey.shape
    rows, columns = max(8, round(_ROI[0] * height)), max(8, round(_ROI[1] * width))
    grey = np.clip(255 * box.grey[:rows, :columns], 0, 255).astype(np.uint8)  # step 2
    inside = box.mask[:rows, :columns].astype(np.uint8)
    quiet = cv2.medianBlur(grey, _MEDIAN)
    tissue = quiet[inside > 0]
    if tissue.size == 0:
        return _no_edge("absent", "no tissue in the upper chest-wall corner")
    threshold, _ = cv2.threshold(tissue.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # Step 6: inverted binarisation marks tissue that is not muscle; the mask is the rest of the tissue.
    _, others = cv2.threshold(quiet, threshold, 1, cv2.THRESH_BINARY_INV)
    muscle = _corner_component((1 - others).astype(np.uint8) & inside)
    if muscle is None:
        return _no_edge("absent", "the upper chest-wall corner is not bright")

    # Step 7: outline of the mask without the frame of the region of interest, and a fitted line x = slope * y + top.
    contours, _ = cv2.findContours(muscle, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)[:, 0, :].astype(np.float64)
    x, y = outline[:, 0], outline[:, 1]
    free = (x > 0) & (y > 0) & (x < muscle.shape[1] - 1) & (y < muscle.shape[0] - 1)
    if free.sum() < 10:
        return _no_edge("failed", "the bright area in the corner has no edge inside the region")
    slope, top = np.polyfit(y[free], x[free], 1)
    residual = line_residual(outline[free], height)
    if slope >= -1e-3 or top <= 0:
        return _no_edge("failed", "the edge does not run from the top down to the chest wall")
    foot = -top / slope
    area = top * foot / 2 / max(1, int(box.mask.sum()))
    if residual > _MAX_RESIDUAL:
        return _no_edge("failed", f"the edge is no line: residual {residual:.3f} is above {_MAX_RESIDUAL}")
    if not _AREA[0] <= area <= _AREA[1]:
        return _no_edge("failed", f"the area is no muscle's: {area:.3f} of the breast")
    contrast = float(np.median(tissue[tissue > threshold])) - float(np.median(tissue[tissue <= threshold]))
    return MuscleEdge(
        status="removed",
        points=np.array([[top, 0.0], [0.0, foot]]),
        doubt=float(np.clip(residual / _MAX_RESIDUAL, 0, 1)),
        angle_deg=float(np.degrees(np.arctan2(top, foot))),
        fit_residual=residual,
        contrast=contrast / 255,
    )
