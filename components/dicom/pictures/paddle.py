"""Find paddles: the rim of a small compression paddle crosses the breast as straight lines or as a closed outline.

A rim is a thin bright (or dark) line. In each row and column the middle of three points is compared with the outer two.
The response is limited to -1..1, so that one bright calcification counts no more than a faint line. Its mean over a run
is high if a line continues without a gap: ducts, vessels and ligaments wind, cross and fade. ``docs/special_images.md``
has the limits and the values of standard views.

A closed rim is a rectangle with round corners, or a circle, with a thin line along all of it. It is found in two steps.
The first step finds the middles of four sides: for each centre the best width and the best height are found
independently of each other, so trying all sizes takes little time. There are many such crosses of four short lines by
chance. So the second step follows the best ones along their whole outline, for several shapes of corners. A paddle's
rim continues between the middles of its sides; random lines do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.pictures.field import Field, Grey, Mask, PictureFinding, disc, quantile
from components.dicom.rejections import RejectionReason

# Half of a rim's width and height, share of the longest side: paddles of 36 to 132 mm in a field of 300 mm.
_HALVES: Final = (0.06, 0.22)
# Centres are tried at every fourth pixel, and this number of the best ones is followed.
_STEP, _FOLLOWED = 4, 20
# Shapes of corners: exponents of |x/a|^p + |y/b|^p = 1; 2 is an ellipse, 16 nearly a rectangle.
_CORNERS: Final = (2.0, 4.5, 12.0)
# An outline has this number of pieces with this number of points each. A piece can be off by this many pixels.
_PIECES, _POINTS, _OFF = 24, 3, 2
# Smallest share of an outline that is in tissue.
_COVERED: Final = 0.5
# Clearness of random lines, times the root of a side's length in pixels.
_NOISE_LEVEL: Final = 1.64


@dataclass(frozen=True)
class Rim:
    """The best closed rim of a picture.

    Attributes:
        evidence: Mean clearness, at most 1, of the pieces of its outline in tissue, minus the clearness of random lines
            with the same length.
        box: Left column, top row, right column, bottom row.
    """

    evidence: float = 0.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


def _pooled(runs: Grey, inside: Mask) -> NDArray[np.int16]:
    """Return the best bright and dark responses, 0..255, of each 4 x 4 pixels and their neighbours; [2, h, w]."""
    box = np.ones((_STEP + 1, _STEP + 1), np.uint8)
    pooled = np.empty((2, *(-(-length // _STEP) for length in runs.shape)), np.int16)
    for part, sign in zip(pooled, (255.0, -255.0), strict=True):
        signed = cv2.addWeighted(runs, sign, runs, 0.0, 0.0, dtype=cv2.CV_8U)
        part[:] = cv2.dilate(cv2.multiply(signed, inside), box)[::_STEP, ::_STEP]
    return pooled


def _padded(responses: NDArray[np.int16], pad: int) -> NDArray[np.int16]:
    """Return a copy with zeros before and after the last axis."""
    *other, length = responses.shape
    padded = np.zeros((*other, length + 2 * pad), np.int16)
    padded[..., pad : pad + length] = responses
    return padded


def _pairs(padded: NDArray[np.int16], half: int, pad: int) -> NDArray[np.int16]:
    """Return the sums of the responses at a distance before and after each place of the last axis."""
    length = padded.shape[-1] - 2 * pad
    return padded[..., pad - half : pad - half + length] + padded[..., pad + half : pad + half + length]


def _best_pairs(padded: NDArray[np.int16], halves: range) -> NDArray[np.int16]:
    """Return the best of these sums over all distances."""
    best = _pairs(padded, halves[0], halves[-1])
    for half in halves[1:]:
        np.maximum(best, _pairs(padded, half, halves[-1]), out=best)
    return best


def _distances(lines: NDArray[np.int16], at: NDArray[np.int64], halves: range) -> NDArray[np.int64]:
    """Return the distance with the best sum at one place of each padded line."""
    tried, middle = np.asarray(halves), (at + halves[-1])[:, None]
    each = np.arange(len(lines))[:, None]
    result: NDArray[np.int64] = tried[np.argmax(lines[each, middle - tried] + lines[each, middle + tried], axis=1)]
    return result


def _crosses(sides: NDArray[np.int16], ends: NDArray[np.int16], halves: range) -> NDArray[np.int64]:
    """Return the best crosses, [5, n]: 0 bright or 1 dark, row and column of the centre, half height and half width."""
    across, down = _padded(sides, halves[-1]), _padded(ends.swapaxes(1, 2), halves[-1])
    total = _best_pairs(across, halves) + _best_pairs(down, halves).swapaxes(1, 2)
    peaks = np.stack([cv2.dilate(part, np.ones((3, 3), np.uint8)) for part in total]) == total
    sign, row, column = np.nonzero(peaks & (total > 0))
    best = np.argsort(-total[sign, row, column], kind="stable")[:_FOLLOWED]
    sign, row, column = sign[best], row[best], column[best]
    height = _distances(down[sign, column], row, halves)
    return np.stack([sign, row, column, height, _distances(across[sign, row], column, halves)])


def _refined(runs: Grey, sign: NDArray[np.int64], line: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move sides (column ``at`` of row ``line``) to the clearest of their neighbours."""
    tried = np.clip(at[:, None] + np.arange(-_STEP, _STEP + 1), 0, runs.shape[1] - 1)
    values = runs[np.clip(line, 0, runs.shape[0] - 1)[:, None], tried] * (1 - 2 * sign)[:, None]
    return np.asarray(tried[np.arange(len(tried)), values.argmax(axis=1)], dtype=np.int64)


@cache
def _outlines() -> tuple[Grey, Grey, Grey, Grey]:
    """Return outlines of half width and height 1: x, y and the slopes of |x|^p + |y|^p; [corners, points].

    They are constants and must not be changed.
    """
    count = _PIECES * _POINTS
    angle = np.arange(count, dtype=np.float32) * np.float32(2 * np.pi / count)
    power = np.asarray(_CORNERS, np.float32)[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    reach = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    x, y = reach * cos, reach * sin
    return x, y, np.abs(x) ** (power - 1) * np.sign(x), np.abs(y) ** (power - 1) * np.sign(y)


def _covered(x: Grey, y: Grey, inside: Mask) -> NDArray[np.bool_]:
    """Return for each piece of each outline whether it is completely in tissue; [outlines, pieces]."""
    rows, columns = inside.shape
    held = (x > -0.5) & (x < columns - 0.5) & (y > -0.5) & (y < rows - 0.5)
    lies = (held & (inside.ravel()[_places(x, y, inside.shape)] > 0)).reshape(-1, _PIECES, _POINTS)
    return np.asarray(np.logical_and.reduce([lies[:, :, point] for point in range(_POINTS)]), dtype=np.bool_)


def _places(x: Grey, y: Grey, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return the index of the nearest pixel of each point."""
    rows, columns = shape
    column, row = np.rint(x).astype(np.int32), np.rint(y).astype(np.int32)
    return np.asarray(np.clip(row, 0, rows - 1) * np.int32(columns) + np.clip(column, 0, columns - 1), dtype=np.int32)


def _followed(
    responses: tuple[Grey, Grey], inside: Mask, sign: NDArray[np.int64], boxes: NDArray[np.float32]
) -> tuple[Grey, Grey]:
    """Follow the outline of each box with each shape of corners.

    Args:
        responses: Responses to lines that run down, and across.
        inside: 1 where a rim can be.
        sign: 0 for bright rims, 1 for dark ones; [boxes].
        boxes: Left, top, right, bottom; [boxes, 4].

    Returns:
        Mean clearness of the pieces in tissue, and the share of the pieces that are in tissue; [boxes, corners].
        Outlines with less than ``_COVERED`` of them are not followed and have no clearness.
    """
    x, y, across, down = _outlines()
    centre = ((boxes[:, :2] + boxes[:, 2:]) / np.float32(2))[:, :, None, None]
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]) / np.float32(2), np.float32(1))[:, :, None, None]
    shape = len(boxes), len(x)
    x, y = ((centre[:, axis] + half[:, axis] * part).reshape(-1, x.shape[1]) for axis, part in enumerate((x, y)))
    lies = _covered(x, y, inside)
    covered = lies.mean(axis=-1)
    at = np.flatnonzero(covered >= _COVERED)
    clear = np.zeros(len(x), np.float32)
    if at.size:
        across, down = ((part / half[:, axis]).reshape(x.shape)[at] for axis, part in enumerate((across, down)))
        pieces = _clearness(responses, np.repeat(1 - 2 * sign, shape[1])[at], (x[at], y[at], across, down))
        clear[at] = (pieces * lies[at]).sum(axis=-1) / lies[at].sum(axis=-1)
    return clear.reshape(shape), covered.reshape(shape)


def _clearness(responses: tuple[Grey, Grey], sign: NDArray[np.int64], outlines: tuple[Grey, Grey, Grey, Grey]) -> Grey:
    """Return the clearness of each piece of each outline at its best distance from it; [outlines, pieces]."""
    x, y, across, down = outlines
    length: Grey = np.sqrt(across * across + down * down)
    across, down = across / length, down / length
    bright = sign[:, None].astype(np.float32)
    share = across * across * bright
    rest = bright - share
    off = np.arange(-_OFF, _OFF + 1, dtype=np.float32)[:, None, None]
    places = _places(x + off * across, y + off * down, responses[0].shape)
    clear = share * responses[0].ravel()[places] + rest * responses[1].ravel()[places]
    points = clear.reshape(len(off), len(x), _PIECES, _POINTS)
    mean = sum(points[..., point] for point in range(_POINTS)) / np.float32(_POINTS)
    return np.asarray(np.max(mean, axis=0), dtype=np.float32)


def best_rim(down: Grey, across: Grey, runs: tuple[Grey, Grey], inside: Mask, longest: int) -> Rim:
    """Find the clearest closed rim, bright or dark.

    Args:
        down: float32 [H, W], responses to lines that run down, -1 dark to 1 bright.
        across: The same for lines that run across.
        runs: Their means over a short run along the line.
        inside: uint8 [H, W], 1 where a rim can be.
        longest: Longest side of the picture, pixels.
    """
    halves = range(round(_HALVES[0] * longest / _STEP), round(_HALVES[1] * longest / _STEP) + 1)
    sign, *cross = _crosses(_pooled(runs[0], inside), _pooled(runs[1], inside), halves)
    if not sign.size:
        return Rim()
    row, column, height, width = (_STEP * part for part in cross)
    left, right = (_refined(runs[0], sign, row, column + off) for off in (-width, width))
    top, bottom = (_refined(runs[1].T, sign, column, row + off) for off in (-height, height))
    boxes = np.stack([left, top, right, bottom], axis=1)
    clear, covered = _followed((down, across), inside, sign, boxes.astype(np.float32))
    sides = covered * ((right - left) + (bottom - top))[:, None] / 2
    evidence = np.where(covered < _COVERED, 0.0, clear - _NOISE_LEVEL / np.sqrt(np.maximum(sides, 1))).max(axis=1)
    n = int(np.argmax(evidence))
    return Rim(float(evidence[n]), (int(left[n]), int(top[n]), int(right[n]), int(bottom[n])))


# Smallest longest side for finding lines: with fewer pixels a run has too few of them.
_LEAST_SIDE: Final = 256
# Distance of the compared points, run of a rectangle's side, run of a circle's turning point, share of the side.
_REACH, _SIDE_RUN, _TURN_RUN = 3 / 384, 61 / 384, 25 / 384
# Limits for a remark and for a rejection: means of long runs in both directions, or in one; evidence of a closed rim.
_BOTH, _SURE_BOTH = 0.79, 0.83
_ONE, _SURE_ONE = 0.9, 0.94
_RIM, _SURE_RIM = 0.48, 0.56
# A rim is at least this far inside the tissue, share of the longest side.
_MARGIN: Final = 0.025
# Lines nearer to a side of the picture, share of the longest side, are edges of films, plates and folds.
_EDGE: Final = 0.06
# A single line must have this distance from the sides, because films end in white and black edges and plates.
_FILM_EDGE: Final = 0.12
_FAINT: Final = 0.002  # grey, below which a response is noise


def _line_responses(fine: Grey, inside: Mask, longest: int, down: bool) -> Grey:
    """Return the response to thin lines that run down (or across), -1 dark to 1 bright."""
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


def _run(responses: Grey, length: int, down: bool) -> Grey:
    size = (1, length) if down else (length, 1)
    return np.asarray(cv2.boxFilter(responses, -1, size, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)


def _strongest(runs: Grey, inside: Mask, length: int, down: bool) -> tuple[float, int]:
    """Return the strongest run that is completely in the tissue, and its column (or row)."""
    kernel = np.ones((length, 1) if down else (1, length), np.uint8)
    whole = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    least, most, at_least, at_most = cv2.minMaxLoc(runs, whole)
    column, row = at_most if most >= -least else at_least
    return max(most, -least, 0.0), int(column if down else row)


def _in_file(field: Field, at: int, column: bool) -> int:
    """Return the column or row in the file for one of ``fine``."""
    return max(0, round((field.fine_left if column else field.fine_top) + at * field.fine_scale))


@dataclass(frozen=True)
class Marks:
    """Lines and rims in a picture that can be those of a paddle.

    Attributes:
        down: Clearness of the strongest line that runs down, and its column.
        across: Clearness of the strongest line that runs across, and its row.
        rim: The clearest closed rim.
        length: Length of the lines, pixels of ``fine``.
    """

    down: tuple[float, int]
    across: tuple[float, int]
    rim: Rim
    length: int


def paddle_marks(field: Field) -> Marks | None:
    """Measure lines and rims in the breast; return None if the picture is too small."""
    longest = field.fine_side
    if longest < _LEAST_SIDE:
        return None
    inside = _inside(field, field.fine.shape, longest)
    left, top, width, height = cv2.boundingRect(inside)
    if not width:
        return None
    # Only pixels in the tissue are compared; three more pixels are needed for the comparison.
    box = np.s_[max(0, top - 3) : top + height + 3, max(0, left - 3) : left + width + 3]
    first = box[0].start, box[1].start
    inside = np.ascontiguousarray(inside[box])
    fine = np.asarray(cv2.GaussianBlur(field.fine[box], (0, 0), 0.8), dtype=np.float32)
    length, turn = (2 * round(share * longest / 2) + 1 for share in (_SIDE_RUN, _TURN_RUN))
    down, across = (_line_responses(fine, inside, longest, runs_down) for runs_down in (True, False))
    lines = [
        _strongest(_run(responses, length, runs_down), inside, length, runs_down)
        for responses, runs_down in ((down, True), (across, False))
    ]
    runs = _run(down, turn, True), _run(across, turn, False)
    rim = best_rim(down, across, runs, inside, longest)
    place = (first[1] + rim.box[0], first[0] + rim.box[1], first[1] + rim.box[2], first[0] + rim.box[3])
    (clear_down, column), (clear_across, row) = lines
    return Marks((clear_down, first[1] + column), (clear_across, first[0] + row), replace(rim, box=place), length)


def paddle_finding(field: Field, partial: bool) -> list[PictureFinding]:
    """Find the rim of a paddle in the breast.

    Args:
        field: Small copy of the picture, with tissue.
        partial: The picture does not show the whole breast either, so it is magnified.

    Returns:
        Findings with their positions; empty if there are none.
    """
    marks = paddle_marks(field)
    if marks is None:
        return []
    case = RejectionReason.MAGNIFICATION if partial else RejectionReason.SPOT_COMPRESSION
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
        found.append(PictureFinding(case, text, both > _SURE_BOTH or one > _SURE_ONE))
    if rim.evidence > _RIM:
        columns = (_in_file(field, x, True) for x in rim.box[::2])
        rows = (_in_file(field, y, False) for y in rim.box[1::2])
        place = "rows {} to {}, columns {} to {}".format(*rows, *columns)
        text = f"rim of a paddle across the breast, {place} ({rim.evidence:.2f})"
        found.append(PictureFinding(case, text, rim.evidence > _SURE_RIM))
    return found


def _inside(field: Field, shape: tuple[int, ...], longest: int) -> Mask:
    """Return the tissue without its rim, on the grid of ``fine``."""
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
