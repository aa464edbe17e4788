"""The closed rim of a paddle: a rectangle with round corners, or a circle, that a thin line follows all round.

Two steps. First the middles of four sides are looked for: for each centre the best width and the best height are found
independently of each other, so all sizes cost little. Chance offers many such crosses of four short lines; so the best
ones are then followed along their whole outline, round the corners, for several kinds of corners. A paddle's rim goes
on between the middles of its sides, what chance puts together does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.pictures.field import Grey, Mask

# Half of a rim's width and height, share of the longest side: paddles of 36 to 132 mm in a field of 300 mm.
_HALVES: Final = (0.06, 0.22)
# Centres are tried on every fourth pixel, and the best of so many are followed.
_STEP, _FOLLOWED = 4, 20
# Corners: exponents of |x/a|^p + |y/b|^p = 1; 2 is an ellipse, 16 nearly a rectangle.
_CORNERS: Final = (2.0, 4.5, 12.0)
# An outline is followed in so many pieces of so many points, and a piece may lie off it by this, pixels.
_PIECES, _POINTS, _OFF = 24, 3, 2
# Share of an outline that lies in tissue, at least.
_COVERED: Final = 0.5
# Clearness that chance gives, times the root of a side's length in pixels.
_CHANCE: Final = 1.64


@dataclass(frozen=True)
class Rim:
    """The best closed rim of a picture.

    Attributes:
        evidence: Mean clearness, at most 1, of the pieces of its outline that lie in tissue, less what chance gives to
            an outline of that length.
        box: Left column, top row, right column, bottom row.
    """

    evidence: float = 0.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


def _pooled(runs: Grey, inside: Mask) -> NDArray[np.int16]:
    """Bright and dark answers, 0..255, of each 4 x 4 pixels and their neighbours the best; [2, h, w]."""
    signed = (cv2.addWeighted(runs, sign, runs, 0.0, 0.0, dtype=cv2.CV_8U) * inside for sign in (255.0, -255.0))
    box = np.ones((_STEP + 1, _STEP + 1), np.uint8)
    return np.stack([cv2.dilate(part, box)[::_STEP, ::_STEP] for part in signed]).astype(np.int16)


def _pairs(padded: NDArray[np.int16], half: int, pad: int) -> NDArray[np.int16]:
    """Sums of the answers at a distance before and behind each place of the last axis."""
    length = padded.shape[-1] - 2 * pad
    return padded[..., pad - half : pad - half + length] + padded[..., pad + half : pad + half + length]


def _best_pairs(padded: NDArray[np.int16], halves: range) -> NDArray[np.int16]:
    """The best of these sums over all distances."""
    best = _pairs(padded, halves[0], halves[-1])
    for half in halves[1:]:
        np.maximum(best, _pairs(padded, half, halves[-1]), out=best)
    return best


def _distances(lines: NDArray[np.int16], at: NDArray[np.int64], halves: range) -> NDArray[np.int64]:
    """The distance that gives the best sum at one place of each padded line."""
    tried, middle = np.asarray(halves), (at + halves[-1])[:, None]
    each = np.arange(len(lines))[:, None]
    return tried[np.argmax(lines[each, middle - tried] + lines[each, middle + tried], axis=1)]


def _crosses(sides: NDArray[np.int16], ends: NDArray[np.int16], halves: range) -> NDArray[np.int64]:
    """The best crosses, [5, n]: 0 bright or 1 dark, row and column of the centre, half height and half width."""
    pad = halves[-1]
    across = np.pad(sides, ((0, 0), (0, 0), (pad, pad)))
    down = np.ascontiguousarray(np.pad(ends, ((0, 0), (pad, pad), (0, 0))).swapaxes(1, 2))
    total = _best_pairs(across, halves) + _best_pairs(down, halves).swapaxes(1, 2)
    peaks = np.stack([cv2.dilate(part, np.ones((3, 3), np.uint8)) for part in total]) == total
    sign, row, column = np.nonzero(peaks & (total > 0))
    best = np.argsort(-total[sign, row, column], kind="stable")[:_FOLLOWED]
    sign, row, column = sign[best], row[best], column[best]
    height = _distances(down[sign, column], row, halves)
    return np.stack([sign, row, column, height, _distances(across[sign, row], column, halves)])


def _settled(runs: Grey, sign: NDArray[np.int64], line: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Moves sides (column ``at`` of row ``line``) to the clearest of their neighbours."""
    tried = np.clip(at[:, None] + np.arange(-_STEP, _STEP + 1), 0, runs.shape[1] - 1)
    values = runs[np.clip(line, 0, runs.shape[0] - 1)[:, None], tried] * (1 - 2 * sign)[:, None]
    return np.asarray(tried[np.arange(len(tried)), values.argmax(axis=1)], dtype=np.int64)


def _outlines() -> tuple[Grey, Grey, Grey, Grey]:
    """Outlines of half width and height 1: x, y and the slopes of |x|^p + |y|^p; [corners, points]."""
    count = _PIECES * _POINTS
    angle = np.arange(count, dtype=np.float32) * np.float32(2 * np.pi / count)
    power = np.asarray(_CORNERS, np.float32)[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    reach = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    x, y = reach * cos, reach * sin
    return x, y, np.abs(x) ** (power - 1) * np.sign(x), np.abs(y) ** (power - 1) * np.sign(y)


def _followed(
    answers: tuple[Grey, Grey], inside: Mask, sign: NDArray[np.int64], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clearness of each piece of each outline, [boxes, corners, pieces], and whether it lies in tissue."""
    x, y, across, down = _outlines()
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, :, None, None]
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, 1)[:, :, None, None]
    x, y = centre[:, 0] + half[:, 0] * x, centre[:, 1] + half[:, 1] * y
    across, down = across / half[:, 0], down / half[:, 1]
    length = np.sqrt(across * across + down * down)
    across, down = across / length, down / length
    share = across * across * (1 - 2 * sign)[:, None, None].astype(np.float32)
    rest = (1 - 2 * sign)[:, None, None].astype(np.float32) - share
    rows, columns = inside.shape
    runs_down, runs_across = (part.ravel() for part in answers)
    shape = (*x.shape[:2], _PIECES, _POINTS)
    best = np.full(shape[:3], -1, np.float32)
    for off in range(-_OFF, _OFF + 1):
        column = np.clip(np.rint(x + np.float32(off) * across), 0, columns - 1)
        row = np.clip(np.rint(y + np.float32(off) * down), 0, rows - 1)
        at = (row * columns + column).astype(np.int32)
        clear = share * runs_down[at] + rest * runs_across[at]
        np.maximum(best, clear.reshape(shape).mean(axis=-1), out=best)
    held = (x > -0.5) & (x < columns - 0.5) & (y > -0.5) & (y < rows - 0.5)
    at = (np.clip(np.rint(y), 0, rows - 1) * columns + np.clip(np.rint(x), 0, columns - 1)).astype(np.int32)
    return best, (held & (inside.ravel()[at] > 0)).reshape(shape).all(axis=-1)


def best_rim(down: Grey, across: Grey, runs: tuple[Grey, Grey], inside: Mask, longest: int) -> Rim:
    """Finds the clearest closed rim, bright or dark.

    Args:
        down: float32 [H, W], answers to lines that run down, -1 dark to 1 bright.
        across: The same for lines that run across.
        runs: Their means over a short run along the line.
        inside: uint8 [H, W], 1 where a rim may lie.
        longest: Longest side of the picture, pixels.
    """
    halves = range(round(_HALVES[0] * longest / _STEP), round(_HALVES[1] * longest / _STEP) + 1)
    sign, *cross = _crosses(_pooled(runs[0], inside), _pooled(runs[1], inside), halves)
    if not sign.size:
        return Rim()
    row, column, height, width = (_STEP * part for part in cross)
    left, right = (_settled(runs[0], sign, row, column + off) for off in (-width, width))
    top, bottom = (_settled(runs[1].T, sign, column, row + off) for off in (-height, height))
    boxes = np.stack([left, top, right, bottom], axis=1)
    pieces, lies = _followed((down, across), inside, sign, boxes.astype(np.float32))
    covered = lies.mean(axis=-1)
    clear = (pieces * lies).sum(axis=-1) / np.maximum(lies.sum(axis=-1), 1)
    sides = covered * ((right - left) + (bottom - top))[:, None] / 2
    evidence = np.where(covered < _COVERED, 0.0, clear - _CHANCE / np.sqrt(np.maximum(sides, 1))).max(axis=1)
    n = int(np.argmax(evidence))
    return Rim(float(evidence[n]), (int(left[n]), int(top[n]), int(right[n]), int(bottom[n])))
