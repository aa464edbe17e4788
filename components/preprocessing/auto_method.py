"""Find the pectoral muscle with method ``auto``: probability map, fitted curve, plausibility checks.

The probability map can have dents where glands or a dark fold lie in front of the muscle. A muscle has no dents, so its
edge is a curve from the top to the chest wall with at most two bends. The curve has four parameters, and each cell of
the map votes on them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.muscle_edge import BreastBox, MuscleEdge, line_residual
from components.preprocessing.network import GRID, SHIPPED, Weights, muscle_probability, resample_to_grid

# Start values of the search: top as a share of the width, foot as a share of the height, bulge.
_TOPS: Final = (0.05, 1.1, 18)
_FEET: Final = (0.08, 1.2, 18)
_BULGES: Final = (-0.05, 0.05, 0.15)
# Limits of top, foot (as above), bulge and bend.
_LOW: Final = (0.02, 0.03, -0.20, -0.20)
_HIGH: Final = (2.0, 1.5, 0.22, 0.20)
# First step sizes of the search, and the number of rounds: each round halves the step sizes.
_STEP: Final = (0.04, 0.04, 0.05, 0.05)
_HALVINGS: Final = 4
_POINTS: Final = 64  # of the curve that is drawn


@dataclass(frozen=True)
class EdgeCurve:
    """Edge from the top to the chest wall, in shares of a box's width and height.

    At the share s of the way down, its distance from the chest wall is ``top`` times
    (1 - s) + 4 ``bulge`` s (1 - s) + 6 ``bend`` s (1 - s) (1 - 2 s).

    Attributes:
        top: Where it meets the top, share of the width.
        foot: Where it meets the chest wall, share of the height; above 1 it leaves the box at the bottom.
        bulge: Above 0 convex, below 0 concave.
        bend: Above 0 convex in the upper half and concave in the lower one.
    """

    top: float
    foot: float
    bulge: float
    bend: float

    def area(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the cells between the edge and the chest-wall corner: bool of ``shape``."""
        height, width = shape
        rows = (np.arange(height) + 0.5) / height
        edge = _edges(np.array([[self.top, self.foot, self.bulge, self.bend]]), rows)[0]
        return np.asarray((np.arange(width) + 0.5) / width < edge[:, np.newaxis])

    def points(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return points from the top to the chest wall: float64 [64, 2], x and y in pixels of a box of ``shape``."""
        height, width = shape
        rows = np.linspace(0, self.foot, _POINTS)
        edge = _edges(np.array([[self.top, self.foot, self.bulge, self.bend]]), rows)[0]
        return np.stack([edge * width - 0.5, rows * height - 0.5], axis=1)


def _edges(curves: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances from the chest wall as shares of the width: float64 [curves, rows]; 0 below the foot."""
    top, foot, bulge, bend = (column[:, np.newaxis] for column in curves.T)
    down = np.minimum(rows / foot, 1.0)
    arch = down * (1 - down)
    result: NDArray[np.float64] = np.maximum(
        top * (1 - down + 4 * bulge * arch + 6 * bend * arch * (1 - 2 * down)), 0.0
    )
    return result


def _votes(votes: NDArray[np.float64], rows: NDArray[np.intp], curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the votes between each curve and the chest wall over ``rows``; ``votes`` are cumulative."""
    height, columns = votes.shape
    width = columns - 1
    edge = np.minimum(_edges(curves, (rows + 0.5) / height), 1.0) * width
    cell = np.minimum(edge.astype(np.intp), width - 1)
    part = edge - cell
    return np.asarray((votes[rows, cell] * (1 - part) + votes[rows, cell + 1] * part).sum(axis=1))


def _hill_climb(
    votes: NDArray[np.float64], rows: NDArray[np.intp], curve: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Change the four parameters of a curve step by step until no step increases the votes."""
    moves = np.array(list(itertools.product((0, -1, 1), repeat=4)), np.float64)
    while True:
        tried = np.clip(curve + moves * step, _LOW, _HIGH)
        chosen = int(_votes(votes, rows, tried).argmax())
        if chosen == 0:  # the first move changes nothing
            return curve
        curve = tried[chosen]


def fit_curve(probability: NDArray[np.float32], mask: NDArray[np.bool_]) -> EdgeCurve:
    """Fit the curve that best separates muscle from breast.

    Args:
        probability: float32 [h, w], probability of muscle, chest wall at the left.
        mask: bool [h, w], breast and muscle. Cells outside have no vote, except between the mask and the chest wall.

    Returns:
        The best curve, even if the map shows no muscle; ``find_edge_auto`` checks whether it is plausible.
    """
    height, width = mask.shape
    before = np.arange(width) < np.where(mask.any(axis=1), mask.argmax(axis=1), 0)[:, np.newaxis]
    vote = np.where(before, 0.5, np.where(mask, probability - np.float64(0.5), 0.0))
    votes = np.concatenate([np.zeros((height, 1)), np.cumsum(vote, axis=1)], axis=1)

    rows = np.arange(height)
    ends = []
    for bulge in _BULGES:  # top and bulge can compensate each other, so a single start can end in a local maximum
        starts = np.array(list(itertools.product(np.linspace(*_TOPS), np.linspace(*_FEET), (bulge,), (0.0,))))
        start = starts[int(_votes(votes, rows[1::4], starts).argmax())]
        ends.append(_hill_climb(votes, rows[::2], start, np.array(_STEP)))
    best = ends[int(_votes(votes, rows, np.array(ends)).argmax())]
    for halving in range(1, _HALVINGS):
        best = _hill_climb(votes, rows, best, np.array(_STEP) / 2**halving)
    return EdgeCurve(*(float(value) for value in best))


# A map whose sum is below this share of breast and muscle shows no muscle.
_NOTHING: Final = 0.01
# Plausible range of the muscle's share of breast and muscle.
_AREA: Final = (0.005, 0.60)
# Agreement of map and curve: below the first value the edge is not accepted, from the second value on it adds no doubt.
_AGREEMENT: Final = (0.72, 0.98)
# A bend of this size, either way, adds a doubt of 1: a muscle's edge has hardly any, glands and folds bend the map's.
_S_SHAPE: Final = 0.4
# Least doubt of "absent": nearly every oblique view shows a muscle, so a network that sees none may have missed it.
_ABSENT_DOUBT: Final = 0.5
_REACH: Final = 3.0  # distance from the edge, to both sides, at which grey levels are compared, pixels


def _verdict(seen: float, area: float, agreement: float, bend: float) -> tuple[str, float, tuple[str, ...]]:
    """Return status, doubt and reasons.

    Two kinds of evidence add to the doubt of an outline: the map does not have its shape, and it is S-shaped. How
    little muscle the network sees is no proof that there is none, so it only orders the views without a muscle.

    Args:
        seen: Sum of the map as a share of breast and muscle.
        area: Area of the curve as a share of breast and muscle.
        agreement: Intersection over union of map and curve, 0..1.
        bend: Of the curve, see ``EdgeCurve``.
    """
    if seen < _NOTHING:
        doubt = _ABSENT_DOUBT + (1 - _ABSENT_DOUBT) * seen / _NOTHING
        return "absent", doubt, (f"no muscle in sight: {seen:.4f} of the breast, {_NOTHING} are the least",)
    if not _AREA[0] <= area <= _AREA[1]:
        return "failed", 1.0, (f"the area is no muscle's: {area:.3f} of the breast, allowed {_AREA[0]} to {_AREA[1]}",)
    if agreement < _AGREEMENT[0]:
        reason = f"what looks like muscle has no muscle's outline: agreement {agreement:.2f} is below {_AGREEMENT[0]}"
        return "failed", 1.0, (reason,)
    disagreement = max(0.0, (_AGREEMENT[1] - agreement) / (_AGREEMENT[1] - _AGREEMENT[0]))
    return "removed", min(disagreement + abs(bend) / _S_SHAPE, 1.0), ()


def _contrast(box: BreastBox, points: NDArray[np.float64]) -> float:
    """Return the median grey step across an edge, from the breast to the muscle."""
    along = np.gradient(points, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-6)[:, np.newaxis]
    height, width = box.grey.shape
    inside = (points >= 0).all(axis=1) & (points < (width, height)).all(axis=1)
    if not inside.any():
        return 0.0
    smooth = cv2.GaussianBlur(box.grey, (0, 0), 2.0)
    grey = []
    for side in (-_REACH, _REACH):
        column, row = np.rint(points + side * normal)[inside].astype(np.intp).T
        grey.append(smooth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)])
    return float(np.median(grey[0] - grey[1]))


def _angle(points: NDArray[np.float64]) -> float:
    """Return the angle between the chest wall and the straight line through an edge, degrees."""
    centred = points - points.mean(axis=0)
    x, y = np.linalg.svd(centred, full_matrices=False)[2][0]
    return float(np.degrees(np.arctan2(abs(x), abs(y))))


def find_edge_auto(box: BreastBox, weights: Weights = SHIPPED) -> MuscleEdge:
    """Find the muscle's edge with the network.

    Args:
        box: Breast and muscle of a mediolateral oblique view, chest wall at the left edge.
        weights: Network to use.

    Returns:
        ``removed`` with the edge; ``absent`` if the network finds no muscle; ``failed`` if the area that it finds does
        not have the shape of a muscle.

    Raises:
        WeightsError: The file of weights is missing or changed.
    """
    mask = resample_to_grid(box)[1] > 0.5
    probability = muscle_probability(box, weights)
    curve = fit_curve(probability, mask)
    within = curve.area(GRID) & mask
    tissue = max(1, int(mask.sum()))
    union = float(np.maximum(probability, within).sum())
    agreement = float(np.minimum(probability, within).sum()) / union if union > 0 else 0.0
    status, doubt, reasons = _verdict(
        float(probability.sum()) / tissue, float(within.sum()) / tissue, agreement, curve.bend
    )
    if status != "removed":
        return MuscleEdge(status, np.empty((0, 2)), doubt, agreement=agreement, reasons=reasons)
    height, width = box.grey.shape
    points = curve.points((height, width))
    return MuscleEdge(
        status=status,
        points=points,
        doubt=doubt,
        angle_deg=_angle(points),
        fit_residual=line_residual(points, height),
        contrast=_contrast(box, points),
        agreement=agreement,
    )
