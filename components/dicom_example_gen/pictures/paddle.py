"""Paddles: the rim of a small compression paddle lies across the breast as straight lines or as a circle.

A rim is a thin bright (or dark) line. Along each row and column the middle of three points is compared with the outer
two, and the answer is limited to -1..1, so that one bright calcification counts no more than a faint line. Its mean
over a run is high where a line goes on without a break: ducts, vessels and ligaments wind, cross and fade. Standard
views reach 0.76 on runs in both directions (see ``docs/special_images.md``), rims 0.85 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom_example_gen.pictures.field import Field, Grey, Mask, disc, quantile

# Smallest picture in which lines are looked for, longest side: in fewer pixels a run holds too few of them.
_LEAST_SIDE: Final = 256
# Distance of the compared points, run of a rectangle's side, run of a circle's turning point, share of the side.
_REACH, _SIDE_RUN, _TURN_RUN = 3 / 384, 61 / 384, 25 / 384
# Means that are a rim: long runs in both directions, or in one; the middles of three sides, or of all four (mean and
# weakest of them, halved).
_BOTH, _ONE = 0.79, 0.9
_THREE, _FOUR = 0.83, 0.8
# Half of a rim's width and height, share of the longest side: paddles of 36 to 132 mm in a field of 300 mm.
_WIDTHS: Final = (0.06, 0.22)
# Two opposite sides are at least so clear, and those of a rim that is not as high as wide are clearer by this.
_LEAST, _OBLONG = 0.7, 0.04
# A rim stays this far inside the tissue, share of the longest side.
_MARGIN: Final = 0.025
# Nearer to a side of the picture, share of the longest side, lines are edges of films, plates and folds.
_EDGE: Final = 0.06
# A line in one direction only must stay away from the sides by this: films end in white and black edges and plates.
_FILM_EDGE: Final = 0.12
_FAINT: Final = 0.002  # grey, below which an answer is noise


def _answers(fine: Grey, inside: Mask, down: bool) -> Grey:
    """Answer of thin lines that run down (or across), -1 dark to 1 bright."""
    reach = max(1, round(_REACH * max(fine.shape)))
    kernel = np.zeros(2 * reach + 1, np.float32)
    kernel[[0, reach, -1]] = -0.5, 1.0, -0.5
    middle = cv2.filter2D(fine, -1, kernel[None, :] if down else kernel[:, None], borderType=cv2.BORDER_REPLICATE)
    size = np.abs(middle)
    typical = quantile(size[::3, ::3][inside[::3, ::3] > 0], 0.5) + _FAINT
    return np.asarray(middle / (size + np.float32(typical)), dtype=np.float32)


def _run(answers: Grey, length: int, down: bool) -> Grey:
    size = (1, length) if down else (length, 1)
    return np.asarray(cv2.boxFilter(answers, -1, size, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)


def _strongest(runs: Grey, inside: Mask, length: int, down: bool) -> tuple[float, int]:
    """Strongest run that lies all in the tissue, and its column (or row)."""
    kernel = np.ones((length, 1) if down else (1, length), np.uint8)
    whole = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    size = np.abs(runs) * whole
    row, column = np.unravel_index(int(np.argmax(size)), size.shape)
    return float(size[row, column]), int(column if down else row)


@dataclass(frozen=True)
class _Rim:
    """A rectangle or circle whose rim runs down at the left and right, across at the top and bottom.

    Attributes:
        score: How clear its three clearest sides are, 0..1.
        score_of_four: How clear all four are.
        box: Left column, top row, right column, bottom row, pixels of ``fine``.
    """

    score: float = 0.0
    score_of_four: float = 0.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def excess(self) -> float:
        """How far it is clearer than chance makes it; above 0 it is a paddle's."""
        return max(self.score - _THREE, self.score_of_four - _FOUR)


def _best_rim(sides: Mask, ends: Mask, lengths: NDArray[np.int64]) -> _Rim:
    """Finds the best rim of which two opposite sides are clear.

    Args:
        sides: uint8 [h, w], answers to lines that run down, 0..255, every second pixel of ``fine``.
        ends: uint8 [h, w], answers to lines that run across.
        lengths: Widths and heights that are tried, pixels of ``sides``.
    """
    best, pad = _Rim(), int(lengths[-1])
    sides, ends = np.pad(sides, pad), np.pad(ends, pad)
    least = 255 * _LEAST
    y, x = np.nonzero(sides > least)
    at, of = np.nonzero(sides[y[:, None], x[:, None] + lengths[None, :]] > least)
    y, x, width = y[at], x[at], lengths[of]
    if not y.size:
        return best
    left, right = sides[y, x], sides[y, x + width]
    for half in lengths // 2:
        top, bottom = ends[y - half, x + width // 2], ends[y + half, x + width // 2]
        four = np.sort(np.stack([left, right, top, bottom]).astype(np.float32) / 255, axis=0)
        oblong = _OBLONG * (np.abs(width - 2 * half) > 3)
        score = 0.5 * four[1] + four[1:].sum(axis=0) / 6 - oblong
        of_four = 0.5 * four[0] + four.sum(axis=0) / 8 - oblong
        n = int(np.argmax(np.maximum(score - _THREE, of_four - _FOUR)))
        found = _Rim(float(score[n]), float(of_four[n]))
        if found.excess > best.excess:
            start = 2 * (int(x[n]) - pad), 2 * (int(y[n] - half) - pad)
            box = (*start, start[0] + 2 * int(width[n]), start[1] + 4 * int(half))
            best = replace(found, box=box)
    return best


def _eight_bit(runs: Grey, sign: float, inside: Mask) -> Mask:
    """Answers of one sign as 0..255, of each 2 x 2 pixels and their neighbours the best."""
    signed = cv2.addWeighted(runs, sign, runs, 0.0, 0.0, dtype=cv2.CV_8U) * inside
    return np.asarray(cv2.dilate(signed, np.ones((3, 3), np.uint8))[::2, ::2], dtype=np.uint8)


def _rim(down: Grey, across: Grey, inside: Mask, longest: int) -> _Rim | None:
    """Looks for a bright and for a dark rim."""
    lengths = np.arange(round(_WIDTHS[0] * longest), round(_WIDTHS[1] * longest) + 1)
    for sign in (255.0, -255.0):
        # The best of neighbours, for rims are not straight to the pixel.
        sides, ends = (_eight_bit(runs, sign, inside) for runs in (down, across))
        rim = _best_rim(sides, ends, lengths)
        if rim.excess > 0:
            return rim
        rim = _best_rim(ends.T, sides.T, lengths)
        if rim.excess > 0:
            top, left, bottom, right = rim.box
            return replace(rim, box=(left, top, right, bottom))
    return None


def _in_file(field: Field, at: int, column: bool) -> int:
    """Column or row of the file for one of ``fine``."""
    return max(0, round((field.fine_left if column else field.fine_top) + at * field.fine_scale))


def paddle_evidence(field: Field) -> str:
    """Looks for the rim of a paddle in the breast.

    Args:
        field: The picture made small, with tissue.

    Returns:
        What was found and where; an empty string for nothing.
    """
    longest = field.fine_side
    if longest < _LEAST_SIDE:
        return ""
    fine = np.asarray(cv2.GaussianBlur(field.fine, (0, 0), 0.8), dtype=np.float32)
    inside = _inside(field, fine.shape, longest)
    if not inside.any():
        return ""
    length, turn = (2 * round(share * longest / 2) + 1 for share in (_SIDE_RUN, _TURN_RUN))
    answers = {down: _answers(fine, inside, down) for down in (True, False)}
    lines = {down: _strongest(_run(answers[down], length, down), inside, length, down) for down in (True, False)}
    strengths = [line[0] for line in lines.values()]
    edge = _FILM_EDGE * longest
    if min(strengths) > _BOTH or any(
        strength > _ONE and edge < at < (fine.shape[1] if down else fine.shape[0]) - edge
        for down, (strength, at) in lines.items()
    ):
        places = " and ".join(
            f"{'column' if down else 'row'} {_in_file(field, at, down)} ({strength:.2f})"
            for down, (strength, at) in lines.items()
            if strength > _BOTH
        )
        return f"straight line across the breast, {round(length * field.fine_scale)} pixels or more, at {places}"
    runs = [_run(answers[down], turn, down) for down in (True, False)]
    rim = _rim(runs[0], runs[1], inside, longest)
    if rim:
        columns = (_in_file(field, x, True) for x in rim.box[::2])
        rows = (_in_file(field, y, False) for y in rim.box[1::2])
        place = "rows {} to {}, columns {} to {}".format(*rows, *columns)
        return f"rim of a paddle across the breast, {place} ({max(rim.score, rim.score_of_four):.2f})"
    return ""


def _inside(field: Field, shape: tuple[int, ...], longest: int) -> Mask:
    """The tissue without its rim, on the grid of ``fine``."""
    margin = disc(max(1, round(_MARGIN * field.side)))
    core = cv2.erode(field.tissue, margin, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    ratio = field.scale / field.fine_scale
    rows, columns = (round(length * ratio) for length in core.shape)
    enlarged = cv2.resize(core, (columns, rows), interpolation=cv2.INTER_NEAREST)
    top = round((field.top - field.fine_top) / field.fine_scale)
    left = round((field.left - field.fine_left) / field.fine_scale)
    inside: NDArray[np.uint8] = np.zeros(shape[:2], np.uint8)
    part = enlarged[: shape[0] - top, : shape[1] - left]
    inside[top : top + part.shape[0], left : left + part.shape[1]] = part
    edge = round(_EDGE * longest)
    inside[: top + edge], inside[:, : left + edge] = 0, 0
    inside[max(0, top + rows - edge) :], inside[:, max(0, left + columns - edge) :] = 0, 0
    return inside
