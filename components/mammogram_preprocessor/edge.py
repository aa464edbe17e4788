"""Steps 4, 5 and 7 of ``auto``: the straight line that best separates muscle from breast.

Every plausible line across the upper chest-wall corner is tried and scored by what is seen along it. The
score is the sum of few terms that do not depend on one scanner's grey scale:

* edge: how far the muscle's side is brighter than the breast's side, clipped so that no single bright vessel,
  fold or label decides;
* alignment: how much of all grey-level change along the line runs across it (gland edges run every way);
* area and foot: weak priors for a muscle of the usual size and height, against folds in the corner.

Coordinates are those of the region of interest: x from the chest wall, y from the top of the breast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.mammogram_preprocessor.region import Region

# Noise reduction (step 5), pixels of the working picture.
_SIGMA: Final = 2.0
# Candidates: where the line meets the top (share of the width) and the chest wall (share of the height).
_TOPS: Final = (0.08, 1.05, 40)
_FEET: Final = (0.15, 1.0, 40)
# Angle between line and chest wall, degrees. Beyond these it is a skin fold or the skin line.
_ANGLES: Final = (5.0, 62.0)
_POINTS: Final = 48  # along a line
_REACH: Final = 3.0  # pixels to either side of the line at which grey levels are compared
_CLIP: Final = 0.12  # of the breast's grey range
_FULL_RISE: Final = 0.35  # of the breast's grey range
# The band beside the muscle: its width as a share of the height, and the part of the line that it follows.
_BAND: Final = 0.06
_UPPER: Final = 0.6
# Weights, found by a grid search on 39 film scans with drawn masks; the score's maximum moves little with
# them.
_W_EDGE: Final = 2.0
_W_ALIGNMENT: Final = 1.5
_W_AREA: Final = 3.0
_W_FOOT: Final = 0.1
_FOOT: Final = (0.55, 0.2)  # usual height of the foot and its spread, shares of the height


@dataclass(frozen=True)
class Line:
    """A line across the corner and what speaks for it.

    Attributes:
        top: x where it meets the top of the region, pixels.
        foot: y where it meets the chest wall, pixels.
        score: What the search maximises.
        edge: Mean clipped grey step across it, -1..1.
        alignment: Share of the grey-level change along it that runs across it, -1..1.
        support: Share of its points where the muscle's side is the brighter one, 0..1.
        contrast: Median grey step across it, share of the breast's grey range.
        rise: How far the muscle as a whole is brighter than the breast beside it, share of the breast's grey
            range.
        margin: Lead of the score over the best line elsewhere.
    """

    top: float
    foot: float
    score: float
    edge: float
    alignment: float
    support: float
    contrast: float
    rise: float
    margin: float

    @property
    def evidence(self) -> float:
        """What is seen along the line, less where the muscle as a whole is hardly brighter, up to 1."""
        return (self.edge + self.alignment) / 2 * min(1.0, max(0.0, self.rise / _FULL_RISE))

    @property
    def angle_deg(self) -> float:
        """Angle between the line and the chest wall, degrees."""
        return float(np.degrees(np.arctan2(self.top, self.foot)))


def _at(picture: NDArray, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray:
    height, width = picture.shape
    column = np.clip(np.rint(x), 0, width - 1).astype(np.intp)
    row = np.clip(np.rint(y), 0, height - 1).astype(np.intp)
    return picture[row, column]


def _rise(smooth: np.ndarray, mask: NDArray[np.bool_], top: float, foot: float) -> float:
    """Mean grey of the muscle less that of a band beside it, in the upper part, where the band is no gland."""
    height, width = mask.shape
    rows = np.arange(min(height, max(1, round(_UPPER * foot))))[:, None]
    columns = np.arange(width)
    distance = (columns * foot + rows * top - top * foot) / np.hypot(top, foot)
    grey, tissue = smooth[: len(rows)], mask[: len(rows)]
    muscle = tissue & (distance < -_REACH)
    beside = tissue & (distance > _REACH) & (distance < _BAND * height)
    if not muscle.any() or not beside.any():
        return 0.0
    return float(grey[muscle].mean() - grey[beside].mean())


def find_line(region: Region) -> Line:
    """Finds the best line across the upper chest-wall corner.

    Args:
        region: Breast and muscle, chest wall at the left edge.

    Returns:
        The line of the highest score. There always is one; whether it is a muscle is judged elsewhere.
    """
    mask = region.mask
    height, width = mask.shape
    smooth = cv2.GaussianBlur(region.grey, (0, 0), _SIGMA)
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)

    tops, feet = (a.ravel() for a in np.meshgrid(np.linspace(*_TOPS) * width, np.linspace(*_FEET) * height))
    angles = np.degrees(np.arctan2(tops, feet))
    plausible = (angles > _ANGLES[0]) & (angles < _ANGLES[1])
    if not plausible.any():  # a region of extreme shape
        plausible[:] = True
    tops, feet = tops[plausible], feet[plausible]

    along = (np.arange(_POINTS) + 0.5) / _POINTS
    x = tops[:, None] * (1 - along)
    y = feet[:, None] * along
    length = np.hypot(tops, feet)
    # Unit normal, from the corner into the breast.
    nx, ny = (feet / length)[:, None], (tops / length)[:, None]

    steps = _at(smooth, x - _REACH * nx, y - _REACH * ny) - _at(smooth, x + _REACH * nx, y + _REACH * ny)
    # The skin line is the strongest edge of all: points with nothing behind them speak against a line.
    seen = _at(mask, x + 2 * _REACH * nx, y + 2 * _REACH * ny)
    edge = np.where(seen, np.clip(steps / _CLIP, -1, 1), -0.5).mean(axis=1)

    change_x, change_y = _at(slope_x, x, y), _at(slope_y, x, y)
    change = np.hypot(change_x, change_y)
    across = np.where(seen, -(change_x * nx + change_y * ny), -0.5 * change)
    alignment = across.sum(axis=1) / (change.sum(axis=1) + 0.05)

    area = np.minimum(tops * feet / 2 / max(1, int(mask.sum())), 1.0)
    foot = ((feet / height - _FOOT[0]) / _FOOT[1]) ** 2
    score = _W_EDGE * edge + _W_ALIGNMENT * alignment + _W_AREA * np.sqrt(area) - _W_FOOT * foot

    best = int(np.argmax(score))
    elsewhere = (abs(tops - tops[best]) > 0.15 * width) | (abs(feet - feet[best]) > 0.15 * height)
    rival = float(score[elsewhere].max()) if elsewhere.any() else float(score[best])
    return Line(
        top=float(tops[best]),
        foot=float(feet[best]),
        score=float(score[best]),
        edge=float(edge[best]),
        alignment=float(alignment[best]),
        support=float(((steps[best] > 0) & seen[best]).mean()),
        contrast=float(np.median(steps[best])),
        rise=_rise(smooth, mask, float(tops[best]), float(feet[best])),
        margin=float(score[best]) - rival,
    )
