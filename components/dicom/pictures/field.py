"""Make the small pictures in which special images are found: grey, exposed field, tissue.

This takes milliseconds and needs no view, spacing or laterality. Distances are shares of the longest side, so they
apply to every matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.rejections import RejectionReason

Grey = NDArray[np.float32]
Mask = NDArray[np.uint8]

# Longest sides of the two working pictures, pixels: for lines of 1 mm in a field of 300 mm, and for shapes.
FINE_SIDE: Final = 384
COARSE_SIDE: Final = 192
# Share of the pixels that saturate at either end, so that hot pixels and padding do not set the scale.
_SATURATED: Final = 0.002
# A frame is uniform within this share of the grey range, covers this share of the picture's border, and is lighter than
# the darkest part of the picture by this much. Air is the darkest part itself.
_FLAT, _BORDER_SHARE, _LIGHTER = 0.025, 0.5, 0.1
# After padding at the chest wall, and at the ends of an oblique view, this share of a line differs from the padding by
# this share of the grey range. After air it is less, where the nipple begins.
_ABRUPT_WALL, _ABRUPT_END, _ABRUPT_STEP = 0.3, 0.15, 0.08
# Padding has one value within this share of the grey range.
_EVEN: Final = 0.01
# A film edge or scanner frame has at most this width (share of a side), and is brighter than what follows by this much.
_MAX_STRIP, _STRIP_JUMP, _STRIP_STEP = 0.08, 0.15, 0.1
# The grey of the skin line is this share (smallest, largest) of the way from air to the middle grey of tissue.
_SKIN_SHARE: Final = (0.13, 0.25)
# Links between breast and label that are narrower than this share of the longest side are cut.
_LINK: Final = 0.04
# A picture of an object differs between places by more than this share of its grey range; noise does not.
_PLACES, _SHAPELESS = 12, 0.1
# The end of padding is searched in every eighth pixel of a line first.
_SAMPLED: Final = 8


class PictureFinding(NamedTuple):
    """A special case that a picture shows, its evidence, and whether the evidence is enough to reject the image."""

    case: RejectionReason
    evidence: str
    sure: bool = True


@dataclass(frozen=True)
class Field:
    """A small copy of a picture.

    Attributes:
        fine: float32 [H, W], grey 0..1, longest side of the picture at most 384 pixels, without ``frame``.
        grey: float32 [h, w], the same at 192 pixels, smoothed, without frame and film edges.
        slope: float32 [h, w], slope of ``grey``, per pixel.
        tissue: uint8 [h, w], 1 on the largest bright part; labels that hardly touch it are cut off.
        air: Grey of the background.
        middle: Median grey of the bright pixels.
        frame: Share of the picture that a uniform light frame covers; 0 if there is none.
        frame_fill: Share of the bounding box inside the frame that is not frame; 1 if there is none.
        shapeless: The picture is only noise.
        top: First row of ``grey`` in the file, in its pixels.
        left: First column of ``grey``.
        fine_top: First row of ``fine`` in the file, in its pixels.
        fine_left: First column of ``fine``.
        scale: Pixels of the file per pixel of ``grey``.
        fine_scale: Pixels of the file per pixel of ``fine``.
        side: Longest side of ``grey`` with frame and film edges, pixels.
        fine_side: Longest side of ``fine`` with frame and film edges, pixels.
    """

    fine: Grey
    grey: Grey
    slope: Grey
    tissue: Mask
    air: float
    middle: float
    frame: float
    frame_fill: float
    shapeless: bool
    top: float
    left: float
    fine_top: float
    fine_left: float
    scale: float
    fine_scale: float
    side: int
    fine_side: int


@cache
def disc(radius: int) -> NDArray[np.uint8]:
    """Return a round structuring element; it must not be changed."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), dtype=np.uint8)


def quantiles(values: NDArray[np.generic], *shares: float) -> list[float]:
    """Return the values below which these shares of the values lie; 0 if there are none."""
    if values.size == 0:
        return [0.0] * len(shares)
    places = [min(values.size - 1, int(share * values.size)) for share in shares]
    split = np.partition(values, places, axis=None)
    return [float(split[place]) for place in places]


def quantile(values: NDArray[np.generic], share: float) -> float:
    """Return the value below which this share of the values lies; 0 if there are none."""
    return quantiles(values, share)[0]


def share_of(mask: NDArray[np.generic]) -> float:
    """Return the share of a mask that is set; 0 if it is empty."""
    return np.count_nonzero(mask) / mask.size if mask.size else 0.0


def border_of(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the outermost pixels of a picture."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def slope_of(grey: Grey) -> Grey:
    """Return the slope of the grey, per pixel."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), dtype=np.float32)


def largest(mask: Mask) -> Mask:
    """Return the largest connected part of a mask."""
    labels, areas = parts_of(mask)
    if areas.size < 2:
        return np.zeros_like(mask)
    return np.asarray((labels == 1 + np.argmax(areas[1:])).view(np.uint8), dtype=np.uint8)


def parts_of(mask: Mask) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return the number of each pixel's connected part, 0 for the background, and the area of each part, pixels.

    OpenCV's own statistics of the parts would take longer. A working picture has fewer than 65,536 parts.
    """
    count, labels = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_16U)
    areas = cv2.calcHist([labels], [0], None, [count], [0, count])
    # [count, 1] by OpenCV 4, [count] by OpenCV 5.
    return np.asarray(labels, dtype=np.uint16), np.asarray(areas, dtype=np.float32).ravel()


def _is_shapeless(grey: Grey) -> bool:
    """Return True if a picture is only noise: on average all places have the same grey."""
    places = cv2.resize(grey, (_PLACES, _PLACES), interpolation=cv2.INTER_AREA)
    return float(places.max() - places.min()) < _SHAPELESS


def _scaled(pixels: NDArray[np.uint16]) -> Grey:
    """Reduce a picture to a longest side of at most 384 pixels and an even size, and its grey to 0..1."""
    rows, columns = pixels.shape
    longest = max(rows, columns)
    if longest >= 2 * FINE_SIDE:  # by a whole number, which is fast; the result can lose one line
        factor = -(-longest // FINE_SIDE)
        rows, columns = (2 * max(1, length // (2 * factor)) for length in (rows, columns))
        pixels = pixels[: rows * factor, : columns * factor]
    else:
        scale = min(1.0, FINE_SIDE / longest)
        rows, columns = (2 * max(1, round(length * scale / 2)) for length in (rows, columns))
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    low, high = quantiles(small[::3, ::3], _SATURATED, 1 - _SATURATED)
    grey = small.astype(np.float32)
    grey -= np.float32(low)
    grey *= np.float32(1 / max(high - low, 1.0))
    return np.asarray(np.clip(grey, 0, 1, out=grey), dtype=np.float32)


def _frame_of(smooth: Grey) -> NDArray[np.bool_] | None:
    """Find a uniform frame that is lighter than air: unexposed film, or the masked part of a collimated field."""
    border = np.asarray(border_of(smooth), dtype=np.float32)
    level = quantile(border, 0.5)
    if level < _LIGHTER or share_of(np.abs(border - np.float32(level)) < _FLAT) < _BORDER_SHARE:
        return None
    if level - quantile(smooth, 0.02) < _LIGHTER:
        return None
    flat = (np.abs(smooth - np.float32(level)) < _FLAT).view(np.uint8)
    count, labels = cv2.connectedComponents(flat, connectivity=4)
    kept = np.zeros(count, np.bool_)
    kept[border_of(labels)] = True
    kept[0] = False
    return np.asarray(kept[labels], dtype=np.bool_)


def _strips(grey: Grey) -> tuple[int, int, int, int]:
    """Measure bright film edges along the four sides: top, bottom, left, right, pixels."""
    widths = []
    of_rows, of_columns = grey.mean(axis=1), grey.mean(axis=0)
    for means in (of_rows, of_rows[::-1], of_columns, of_columns[::-1]):
        depth = max(4, round(_MAX_STRIP * means.size))
        jumps = means[:depth] - means[depth : 2 * depth].mean()
        steps = jumps[:-2] - jumps[2:]
        bright = np.flatnonzero((jumps[:-2] > _STRIP_JUMP) & (steps > _STRIP_STEP))
        widths.append(int(bright[-1]) + 2 if bright.size else 0)
    return widths[0], widths[1], widths[2], widths[3]


def _levels(smooth: Grey) -> tuple[float, float, float]:
    """Return the grey of air, the middle grey of bright pixels, and the grey of the skin line between them."""
    roots = (255 * np.sqrt(smooth)).astype(np.uint8)
    split = (cv2.threshold(roots, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 255) ** 2
    dark, lit = smooth[smooth < split], smooth[smooth >= split]
    air = quantile(dark, 0.5)
    noise = 1.4826 * quantile(np.abs(dark - np.float32(air)), 0.5)
    middle = quantile(lit, 0.5) if lit.size else air
    least, most = (share * (middle - air) for share in _SKIN_SHARE)
    return air, middle, air + min(max(4 * noise, least), most)


def _largest_lit(lit: Mask) -> Mask:
    """Find the largest bright part without the parts behind a narrow link; fill its holes."""
    radius = max(1, round(_LINK * max(lit.shape) / 2))
    pad = 2 * radius  # mirrored outwards, so that tissue is not rounded off at the edge of the picture
    padded = cv2.copyMakeBorder(lit, pad, pad, pad, pad, cv2.BORDER_REFLECT)
    core = largest(np.asarray(cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc(radius)), dtype=np.uint8))
    grown = np.minimum(cv2.dilate(core, disc(max(2, radius // 2))), padded)[pad:-pad, pad:-pad]
    mask = largest(np.ascontiguousarray(grown))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, (1,), cv2.FILLED), dtype=np.uint8)


def _padding(pixels: NDArray[np.uint16], reach: float, abrupt: float) -> int:
    """Count the rows at the top that have only one value, if the picture begins abruptly after them."""
    level, even = int(pixels[0, 0]), np.float32(_EVEN * reach)  # lossy compression blurs the value
    if _differences(pixels[:1], level).max() > even:
        return 0
    sampled = np.flatnonzero(_differences(pixels[:, ::_SAMPLED], level) > even)
    first = int(sampled[0]) if sampled.size else len(pixels)
    block = pixels[:first]
    if max(int(block.max()) - level, level - int(block.min())) > even:
        first = int(np.flatnonzero(_differences(block, level) > even)[0])
    if first == len(pixels):
        return 0
    behind = pixels[min(first + 1 + len(pixels) // 200, len(pixels) - 1)].astype(np.float32)
    return first if share_of(np.abs(behind - np.float32(level)) > _ABRUPT_STEP * reach) > abrupt else 0


def _differences(pixels: NDArray[np.uint16], level: int) -> NDArray[np.float32]:
    """Return the largest difference from a level in each row."""
    lowest, highest = pixels.min(axis=1).astype(np.float32), pixels.max(axis=1).astype(np.float32)
    return np.asarray(np.maximum(np.float32(level) - lowest, highest - np.float32(level)), dtype=np.float32)


def without_padding(pixels: NDArray[np.uint16], oblique: bool) -> tuple[NDArray[np.uint16], int, int]:
    """Cut bands of one value off at the chest wall, and at the upper or lower end of an oblique view.

    Many exports pad pictures to one size. Bands at opposite sides of the breast come from a collimator and stay.

    Args:
        pixels: uint16 [H, W].
        oblique: The breast can reach the upper and lower edge of the picture.

    Returns:
        The picture, and the number of rows and columns that were cut off before it.
    """
    reach = float(pixels.max()) - float(pixels.min())
    left, right = (_padding(turned, reach, _ABRUPT_WALL) for turned in (pixels.T, pixels.T[::-1]))
    top, bottom = (_padding(turned, reach, _ABRUPT_END) if oblique else 0 for turned in (pixels, pixels[::-1]))
    if (left and right) or (top and bottom):
        return pixels, 0, 0
    rows, columns = pixels.shape
    return np.ascontiguousarray(pixels[top : rows - bottom, left : columns - right]), top, left


def read_field(pixels: NDArray[np.uint16], unit: float = 1.0, start: tuple[int, int] = (0, 0)) -> Field:
    """Make a small copy of a picture and find the tissue in it.

    Args:
        pixels: uint16 [H, W], bright = dense, at least 32 pixels per side.
        unit: Pixels of the file per pixel of ``pixels``.
        start: Row and column of the file's picture at which ``pixels`` start, in its pixels.

    Returns:
        The field; its ``tissue`` may be empty.
    """
    fine = _scaled(pixels)
    fine_side, fine_scale = max(fine.shape), unit * max(pixels.shape) / max(fine.shape)
    step = 2 if max(fine.shape) > COARSE_SIDE else 1
    size = (fine.shape[1] // step, fine.shape[0] // step)
    grey = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8), dtype=np.float32)

    top = left = 0
    frame, share, fill = _frame_of(smooth), 0.0, 1.0
    if frame is not None:
        share = float(frame.mean())
        rows, columns = np.flatnonzero((~frame).mean(axis=1) > 0.05), np.flatnonzero((~frame).mean(axis=0) > 0.05)
        if min(rows.size, columns.size) >= 16:
            top, left = int(rows[0]), int(columns[0])
            box = np.s_[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
            fill = float((~frame)[box].mean())
            grey, smooth = grey[box], smooth[box]
            fine = fine[top * step : (int(rows[-1]) + 1) * step, left * step : (int(columns[-1]) + 1) * step]
    offset = start[0] * unit, start[1] * unit
    fine_top, fine_left = offset[0] + top * step * fine_scale, offset[1] + left * step * fine_scale
    shapeless = _is_shapeless(grey)
    above, below, before, behind = _strips(grey)
    smooth = np.ascontiguousarray(smooth[above : grey.shape[0] - below, before : grey.shape[1] - behind])
    air, middle, skin = _levels(smooth)
    tissue = _largest_lit((smooth > skin).view(np.uint8))
    scale = step * fine_scale
    return Field(
        fine=fine,
        grey=smooth,
        slope=slope_of(smooth),
        tissue=tissue,
        air=air,
        middle=middle,
        frame=share,
        frame_fill=fill,
        shapeless=shapeless,
        top=offset[0] + (top + above) * scale,
        left=offset[1] + (left + before) * scale,
        fine_top=fine_top,
        fine_left=fine_left,
        scale=scale,
        fine_scale=fine_scale,
        side=max(size),
        fine_side=fine_side,
    )
