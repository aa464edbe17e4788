"""The muscle's edge as a curve: the one that best parts a probability map into muscle and breast.

A map may have dents where glands or a dark fold lie before the muscle; a muscle has none. So the edge is a line from
the top to the chest wall with two bends at most, four numbers, and the map votes on them cell by cell.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Where the search starts: top as a share of the width, foot as a share of the height, bulge.
_TOPS: Final = (0.05, 1.1, 18)
_FEET: Final = (0.08, 1.2, 18)
_BULGES: Final = (-0.05, 0.05, 0.15)
# Limits of top, foot (as above), bulge and bend.
_LOW: Final = (0.02, 0.03, -0.20, -0.20)
_HIGH: Final = (2.0, 1.5, 0.22, 0.20)
# First and last step of the search; each is half of the one before.
_STEP: Final = (0.04, 0.04, 0.05, 0.05)
_HALVINGS: Final = 4
_POINTS: Final = 64  # of the curve that is drawn


@dataclass(frozen=True)
class EdgeCurve:
    """Edge from the top to the chest wall, in shares of a region's width and height.

    At the share s of the way down, its distance from the chest wall is ``top`` times
    (1 - s) + 4 ``bulge`` s (1 - s) + 6 ``bend`` s (1 - s) (1 - 2 s).

    Attributes:
        top: Where it meets the top, share of the width.
        foot: Where it meets the chest wall, share of the height; above 1 it leaves the region at the bottom.
        bulge: Above 0 convex, below 0 concave.
        bend: Above 0 convex in the upper half and concave in the lower one.
    """

    top: float
    foot: float
    bulge: float
    bend: float

    def area(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Cells between the edge and the corner: bool of ``shape``."""
        height, width = shape
        rows = (np.arange(height) + 0.5) / height
        edge = _edges(np.array([[self.top, self.foot, self.bulge, self.bend]]), rows)[0]
        return np.asarray((np.arange(width) + 0.5) / width < edge[:, np.newaxis])

    def points(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Points from the top to the chest wall: float64 [64, 2], x and y in pixels of a region of ``shape``."""
        height, width = shape
        rows = np.linspace(0, self.foot, _POINTS)
        edge = _edges(np.array([[self.top, self.foot, self.bulge, self.bend]]), rows)[0]
        return np.stack([edge * width - 0.5, rows * height - 0.5], axis=1)


def _edges(curves: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the chest wall in each row, share of the width: float64 [curves, rows]; 0 below the foot."""
    top, foot, bulge, bend = (column[:, np.newaxis] for column in curves.T)
    down = np.minimum(rows / foot, 1.0)
    arch = down * (1 - down)
    return np.maximum(top * (1 - down + 4 * bulge * arch + 6 * bend * arch * (1 - 2 * down)), 0.0)


def _votes(votes: NDArray[np.float64], rows: NDArray[np.intp], curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the votes between each curve and the chest wall, over some rows; ``votes`` are cumulative."""
    height, columns = votes.shape
    width = columns - 1
    edge = np.minimum(_edges(curves, (rows + 0.5) / height), 1.0) * width
    cell = np.minimum(edge.astype(np.intp), width - 1)
    part = edge - cell
    return np.asarray((votes[rows, cell] * (1 - part) + votes[rows, cell + 1] * part).sum(axis=1))


def _climbed(
    votes: NDArray[np.float64], rows: NDArray[np.intp], curve: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Changes a curve by steps in any of its four numbers until none of them gains a vote."""
    moves = np.array(list(itertools.product((0, -1, 1), repeat=4)), np.float64)
    while True:
        tried = np.clip(curve + moves * step, _LOW, _HIGH)
        chosen = int(_votes(votes, rows, tried).argmax())
        if chosen == 0:  # the first move is none at all
            return curve
        curve = tried[chosen]


def fit_curve(probability: NDArray[np.float32], mask: NDArray[np.bool_]) -> EdgeCurve:
    """Finds the edge with most muscle on one side of it and most breast on the other.

    Args:
        probability: float32 [h, w], probability of muscle, chest wall at the left.
        mask: bool [h, w], breast and muscle; what lies outside has no vote, except between it and the chest wall.

    Returns:
        The curve. There always is one; whether it is a muscle's is judged elsewhere.
    """
    height, width = mask.shape
    before = np.arange(width) < np.where(mask.any(axis=1), mask.argmax(axis=1), 0)[:, np.newaxis]
    vote = np.where(before, 0.5, np.where(mask, probability - np.float64(0.5), 0.0))
    votes = np.concatenate([np.zeros((height, 1)), np.cumsum(vote, axis=1)], axis=1)

    rows = np.arange(height)
    ends = []
    for bulge in _BULGES:  # top and bulge can stand in for each other, so one start may end in the wrong place
        starts = np.array(list(itertools.product(np.linspace(*_TOPS), np.linspace(*_FEET), (bulge,), (0.0,))))
        start = starts[int(_votes(votes, rows[1::4], starts).argmax())]
        ends.append(_climbed(votes, rows[::2], start, np.array(_STEP)))
    best = ends[int(_votes(votes, rows, np.array(ends)).argmax())]
    for halving in range(1, _HALVINGS):
        best = _climbed(votes, rows, best, np.array(_STEP) / 2**halving)
    return EdgeCurve(*(float(value) for value in best))
