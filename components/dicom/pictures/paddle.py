"""Paddles: the rim of a small compression paddle lies across the breast as straight lines or as a circle.

A rim is a thin bright (or dark) line. Along each row and column the middle of three points is compared with the outer
two, and the answer is limited to -1..1, so that one bright calcification counts no more than a faint line. Its mean
over a run is high where a line goes on without a break: ducts, vessels and ligaments wind, cross and fade. Closed rims
are ``rim``'s. Limits and what standard views reach are in ``docs/special_images.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.acceptance import SpecialCase
from components.dicom.pictures.field import Field, Found, Grey, Mask, disc, quantile
from components.dicom.pictures.rim import Rim, best_rim

# Smallest picture in which lines are looked for, longest side: in fewer pixels a run holds too few of them.
_LEAST_SIDE: Final = 256
# Distance of the compared points, run of a rectangle's side, run of a circle's turning point, share of the side.
_REACH, _SIDE_RUN, _TURN_RUN = 3 / 384, 61 / 384, 25 / 384
# What is told, and what is sure: means of long runs in both directions, or in one; evidence of a closed rim.
_BOTH, _SURE_BOTH = 0.79, 0.83
_ONE, _SURE_ONE = 0.9, 0.94
_RIM, _SURE_RIM = 0.48, 0.56
# A rim stays this far inside the tissue, share of the longest side.
_MARGIN: Final = 0.025
# Nearer to a side of the picture, share of the longest side, lines are edges of films, plates and folds.
_EDGE: Final = 0.06
# A line in one direction only must stay away from the sides by this: films end in white and black edges and plates.
_FILM_EDGE: Final = 0.12
_FAINT: Final = 0.002  # grey, below which an answer is noise


def _answers(fine: Grey, inside: Mask, longest: int, down: bool) -> Grey:
    """Answer of thin lines that run down (or across), -1 dark to 1 bright."""
    reach = max(1, round(_REACH * longest))
    beside = (0, 0, reach, reach) if down else (reach, reach, 0, 0)
    padded = cv2.copyMakeBorder(fine, *beside, cv2.BORDER_REPLICATE)
    rows, columns = fine.shape
    outer = cv2.add(padded[:rows, :columns], padded[-rows:, -columns:])
    middle = cv2.scaleAdd(outer, -0.5, fine)
    size = np.abs(middle)
    typical = quantile(size[::3, ::3][inside[::3, ::3] > 0], 0.5) + _FAINT
    size += np.float32(typical)
    return np.asarray(cv2.divide(middle, size), dtype=np.float32)


def _run(answers: Grey, length: int, down: bool) -> Grey:
    size = (1, length) if down else (length, 1)
    return np.asarray(cv2.boxFilter(answers, -1, size, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)


def _strongest(runs: Grey, inside: Mask, length: int, down: bool) -> tuple[float, int]:
    """Strongest run that lies all in the tissue, and its column (or row)."""
    kernel = np.ones((length, 1) if down else (1, length), np.uint8)
    whole = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    least, most, at_least, at_most = cv2.minMaxLoc(runs, whole)
    column, row = at_most if most >= -least else at_least
    return max(most, -least, 0.0), int(column if down else row)


def _in_file(field: Field, at: int, column: bool) -> int:
    """Column or row of the file for one of ``fine``."""
    return max(0, round((field.fine_left if column else field.fine_top) + at * field.fine_scale))


@dataclass(frozen=True)
class Marks:
    """What in a picture may be a paddle's.

    Attributes:
        down: Clearness of the strongest line that runs down, and its column.
        across: The same of the strongest line that runs across, and its row.
        rim: The clearest closed rim.
        length: Length of the lines, pixels of ``fine``.
    """

    down: tuple[float, int]
    across: tuple[float, int]
    rim: Rim
    length: int


def paddle_marks(field: Field) -> Marks | None:
    """Measures lines and rims in the breast; None where the picture is too small for it."""
    longest = field.fine_side
    if longest < _LEAST_SIDE:
        return None
    inside = _inside(field, field.fine.shape, longest)
    left, top, width, height = cv2.boundingRect(inside)
    if not width:
        return None
    # Only what lies in the tissue is compared; three pixels more for what is compared with it.
    box = np.s_[max(0, top - 3) : top + height + 3, max(0, left - 3) : left + width + 3]
    first = box[0].start, box[1].start
    inside = np.ascontiguousarray(inside[box])
    fine = np.asarray(cv2.GaussianBlur(field.fine[box], (0, 0), 0.8), dtype=np.float32)
    length, turn = (2 * round(share * longest / 2) + 1 for share in (_SIDE_RUN, _TURN_RUN))
    down, across = (_answers(fine, inside, longest, runs_down) for runs_down in (True, False))
    lines = [
        _strongest(_run(answers, length, runs_down), inside, length, runs_down)
        for answers, runs_down in ((down, True), (across, False))
    ]
    runs = _run(down, turn, True), _run(across, turn, False)
    rim = best_rim(down, across, runs, inside, longest)
    place = (first[1] + rim.box[0], first[0] + rim.box[1], first[1] + rim.box[2], first[0] + rim.box[3])
    (clear_down, column), (clear_across, row) = lines
    return Marks((clear_down, first[1] + column), (clear_across, first[0] + row), replace(rim, box=place), length)


def paddle_finding(field: Field, partial: bool) -> list[Found]:
    """Looks for the rim of a paddle in the breast.

    Args:
        field: The picture made small, with tissue.
        partial: Whether the picture does not show the whole breast either, so that it is magnified.

    Returns:
        What was found and where; empty for nothing.
    """
    marks = paddle_marks(field)
    if marks is None:
        return []
    case = SpecialCase.MAGNIFICATION if partial else SpecialCase.SPOT_COMPRESSION
    edge, rim = _FILM_EDGE * field.fine_side, marks.rim
    lines = {True: marks.down, False: marks.across}
    both = min(clear for clear, _ in lines.values())
    one = max(
        clear if edge < at < field.fine.shape[1 if down else 0] - edge else 0.0 for down, (clear, at) in lines.items()
    )
    found = []
    if both > _BOTH or one > _ONE:
        places = " and ".join(
            f"{'column' if down else 'row'} {_in_file(field, at, down)} ({clear:.2f})"
            for down, (clear, at) in lines.items()
            if clear > _BOTH
        )
        length = round(marks.length * field.fine_scale)
        text = f"straight line across the breast, {length} pixels or more, at {places}"
        found.append(Found(case, text, both > _SURE_BOTH or one > _SURE_ONE))
    if rim.evidence > _RIM:
        columns = (_in_file(field, x, True) for x in rim.box[::2])
        rows = (_in_file(field, y, False) for y in rim.box[1::2])
        place = "rows {} to {}, columns {} to {}".format(*rows, *columns)
        text = f"rim of a paddle across the breast, {place} ({rim.evidence:.2f})"
        found.append(Found(case, text, rim.evidence > _SURE_RIM))
    return found


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
