"""Step 3: remove the background, film labels, film edges and noise.

All functions work on the small working picture (see ``grey_levels.to_working``). One of its pixels is about 1/384 of
the longest side, so all distances are shares of that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Film labels that touch the breast: plates with the clinic's name and the exam's date.
# Tissue at the skin is thin, so its grey fades gradually towards the background. Lettering has saturated white within a
# few pixels of black, over an area as wide as high, at the border of the presumed breast. The thresholds were chosen on
# the 1,144 DDSM browse films: there, labels that touch the breast have at least 19 % saturated and 13 % dark pixels,
# and the most similar tissue, the rim of a dense breast, has 4 % saturated pixels.
# Grey range within 5 x 5 pixels of lettering, as a share of the picture's range.
_LETTER_RANGE: Final = 0.4
# Minimum width of lettering. Lines of any length, such as the skin line or a film edge, are narrower.
_LETTER_WIDTH: Final = 9 / 384
# Lettering closer than this belongs to one label.
_LETTER_GAP: Final = 16 / 384
# Minimum area, as a share of the longest side squared. Calcifications, clips and crossing folds are smaller.
_LETTER_AREA: Final = 0.0035
# Grey levels of white and black, and the minimum shares of white and of black pixels in lettering.
_WHITE, _MIN_WHITE = 0.9, 0.12
_BLACK, _MIN_BLACK = 0.35, 0.1
# At least the second share of a label lies within the first distance of the background.
_LABEL_REACH, _MIN_NEAR = 32 / 384, 0.6
# Width of the plate's rim around the lettering, which is cut off too.
_LABEL_RIM: Final = 4 / 384

# A film edge or scanner frame is at most this wide, as a share of the picture's own width or height.
_MAX_STRIP: Final = 0.08
# A strip is brighter than the pixels behind it by this share of the grey range, averaged over its length. Most of the
# difference is lost within two pixels at its inner edge; the glow of tissue at the chest wall fades slowly.
_STRIP_JUMP: Final = 0.15
_STRIP_STEP: Final = 0.1
# Minimum and maximum position of the skin line between the noise floor (0) and the median grey of tissue (1).
_SKIN_SHARE: Final = (0.13, 0.25)
# Links between breast and label narrower than this share of the longest side are cut.
_LINK: Final = 0.055
# Number of searches for labels: one plate can hide behind another.
_CUTS: Final = 3
# Rows of the breast narrower than this share of its width are film edge.
_SLIVER: Final = 0.14
# Along the top and bottom film edge, parts lower than this share of the breast's height, and this many times as wide as
# high, are the glow of that edge.
_GLOW_HEIGHT: Final = 0.1
_GLOW_SHAPE: Final = 2.0
# A breast covers at least this share of the picture.
_MIN_BREAST: Final = 0.03
# Tissue is brighter than the noise floor by at least this share of the grey range.
_MIN_CONTRAST: Final = 0.08


def _ellipse(radius: int) -> NDArray[Any]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _is_lettering(part: NDArray[np.bool_], work: NDArray[np.float32], near: NDArray[np.bool_]) -> bool:
    greys = work[part]
    return bool(
        near[part].mean() >= _MIN_NEAR
        and (greys > _WHITE).mean() >= _MIN_WHITE
        and (greys < _BLACK).mean() >= _MIN_BLACK
    )


def touching_labels(work: NDArray[np.float32], mask: NDArray[np.uint8], inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find film labels in the presumed breast.

    Args:
        work: float32 [h, w], grey 0..1.
        mask: uint8 [h, w], 1 in the presumed breast.
        inside: uint8 [h, w], 0 on film edges and scanner frames, which do not count as background.

    Returns:
        uint8 [h, w], 1 on the convex hulls of lettering; all 0 for most pictures.
    """
    side = max(work.shape)
    eight_bit = (255 * work).astype(np.uint8)
    square = np.ones((5, 5), np.uint8)
    steep = cv2.morphologyEx(eight_bit, cv2.MORPH_GRADIENT, square) > 255 * _LETTER_RANGE
    hard = steep.astype(np.uint8) & mask & inside
    labels, least = np.zeros(mask.shape, np.uint8), _LETTER_AREA * side * side
    if np.count_nonzero(hard) < least / 2:
        return labels  # the usual case, quickly
    joined = cv2.morphologyEx(hard, cv2.MORPH_CLOSE, _ellipse(2))
    compact = cv2.morphologyEx(joined, cv2.MORPH_OPEN, _ellipse(max(1, round(_LETTER_WIDTH * side / 2))))
    compact = cv2.morphologyEx(compact, cv2.MORPH_CLOSE, _ellipse(max(1, round(_LETTER_GAP * side / 2))))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(compact, connectivity=8)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= least]
    if not large:
        return labels
    near = cv2.distanceTransform(1 - (inside & (1 - mask)), cv2.DIST_L2, 3) < _LABEL_REACH * side
    for part in large:
        if _is_lettering(parts == part, work, near):
            points = np.argwhere(parts == part)[:, ::-1].astype(np.int32)
            cv2.fillConvexPoly(labels, cv2.convexHull(points), (1,))
    return cv2.dilate(labels, _ellipse(max(1, round(_LABEL_RIM * side)))).astype(np.uint8)


@dataclass(frozen=True)
class Foreground:
    """The patient in the picture.

    Attributes:
        mask: bool [h, w], breast and muscle; all False if no breast was found.
        floor: Grey level of the background in the working picture, 0..1.
        reason: Why no breast was found, or an empty string.
        label_cut: True if a film label touched the breast and was cut off.
    """

    mask: NDArray[np.bool_]
    floor: float
    reason: str = ""
    label_cut: bool = False


def frame_strips(work: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Measure bright film edges and scanner frames along the four sides.

    A breast that fills its side to the last row is as bright behind the first columns as in them. An unexposed or
    uncovered film edge is brighter than the pixels behind it.

    Args:
        work: float32 [h, w], grey 0..1.

    Returns:
        Widths of the strips in pixels: top, bottom, left, right.
    """
    widths = []
    for turned in (work, work[::-1], work.T, work.T[::-1]):
        depth = max(4, round(_MAX_STRIP * turned.shape[0]))
        behind = turned[depth : 2 * depth].mean(axis=0)
        jumps = (turned[:depth] - behind).mean(axis=1)
        steps = jumps[:-2] - jumps[2:]
        bright = np.flatnonzero((jumps[:-2] > _STRIP_JUMP) & (steps > _STRIP_STEP))
        # One more line: area averaging mixes the last line of the strip with its neighbour.
        widths.append(int(bright[-1]) + 2 if bright.size else 0)
    return widths[0], widths[1], widths[2], widths[3]


def _noise_floor(values: NDArray[Any], split: float) -> tuple[float, float]:
    """Return the median and the robust standard deviation of the values below the split."""
    dark = values[values < split]
    if dark.size == 0:
        return 0.0, 0.0
    floor = float(np.median(dark))
    return floor, float(1.4826 * np.median(np.abs(dark - floor)))


def _largest(mask: NDArray[Any]) -> NDArray[Any]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    result: NDArray[Any] = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    return result


def _without_holes(mask: NDArray[Any]) -> NDArray[Any]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), contours, -1, (1,), thickness=cv2.FILLED)


def _without_slivers(mask: NDArray[Any]) -> NDArray[Any]:
    """Remove rows that are narrow compared with the breast: the rest of a film edge along the chest wall."""
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size == 0:
        return mask
    # Odd: a kernel of even length would shift the mask by one pixel.
    length = 2 * max(1, round(_SLIVER * (columns[-1] - columns[0] + 1) / 2)) + 1
    line = np.ones((1, length), np.uint8)
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, line, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    return opened


def _without_glow(mask: NDArray[Any], first: int, last: int) -> NDArray[Any]:
    """Remove glow that runs from the breast along the film's upper or lower edge, rows ``first`` and ``last``."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return mask
    length = 2 * max(1, round(_GLOW_HEIGHT * (rows[-1] - rows[0] + 1) / 2)) + 1
    column = np.ones((length, 1), np.uint8)
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, column, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask - opened, connectivity=4)
    top, height, width = (stats[:, kind] for kind in (cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH))
    at_edge = (top <= first) | (top + height > last)
    glow = at_edge & (width > _GLOW_SHAPE * height) & (width > length / 2)
    glow[0] = False  # component 0 is the rest of the picture
    result: NDArray[Any] = mask * (~glow[labels]).astype(np.uint8)
    return result


def _largest_breast(lit: NDArray[Any], frame: tuple[slice, slice], side: int) -> NDArray[Any]:
    """Find the largest bright part inside the frame after cutting narrow links."""
    radius = max(2, round(_LINK * side / 2))
    # The frame is mirrored outwards, so that the breast is not rounded off at the picture's border. The glow of a film
    # edge is thin even when doubled, and is still removed.
    pad = 2 * radius
    padded = cv2.copyMakeBorder(lit[frame], pad, pad, pad, pad, cv2.BORDER_REFLECT)
    core = _largest(cv2.morphologyEx(padded, cv2.MORPH_OPEN, _ellipse(radius)))
    grown = np.minimum(cv2.dilate(core, _ellipse(max(2, radius // 2))), padded)
    grown = cv2.morphologyEx(grown, cv2.MORPH_CLOSE, _ellipse(2))
    mask = np.zeros_like(lit)
    mask[frame] = _without_holes(_largest(grown))[pad:-pad, pad:-pad]
    return _largest(_without_glow(_without_slivers(mask), frame[0].start, frame[0].stop - 1))


def find_foreground(work: NDArray[np.float32]) -> Foreground:
    """Separate breast and muscle from background, labels, film edges and noise.

    Args:
        work: float32 [h, w], grey 0..1, bright = dense.

    Returns:
        The foreground. If no breast was found, its ``reason`` explains why.
    """
    smooth = cv2.GaussianBlur(work, (0, 0), 1.5)
    split_root, _ = cv2.threshold((255 * np.sqrt(smooth)).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    split = (split_root / 255) ** 2
    top, bottom, left, right = frame_strips(work)
    height, width = work.shape
    frame = np.s_[top : height - bottom, left : width - right]
    inside = np.zeros(work.shape, np.uint8)
    inside[frame] = 1

    values = smooth[inside > 0]
    floor, noise = _noise_floor(values, split)
    tissue = float(np.median(values[values >= split])) if np.any(values >= split) else floor
    if tissue - floor < _MIN_CONTRAST:
        return Foreground(np.zeros(work.shape, np.bool_), floor, "no tissue stands out of the background")
    least, most = (share * (tissue - floor) for share in _SKIN_SHARE)
    threshold = floor + min(max(4 * noise, least), most)

    lit = (smooth > threshold).astype(np.uint8) & inside
    mask = _largest_breast(lit, frame, max(work.shape))
    label_cut = False
    # Search again after a cut: the neighbourhood of the cut is now at the border.
    for _ in range(_CUTS):
        labels = touching_labels(work, mask, inside)
        if not labels.any():
            break
        label_cut = True
        lit[labels > 0] = 0
        mask = _largest_breast(lit, frame, max(work.shape))
    if mask.mean() < _MIN_BREAST:
        return Foreground(np.zeros(work.shape, np.bool_), floor, "nothing in the picture is as large as a breast")
    return Foreground(mask.astype(np.bool_), floor, label_cut=label_cut)
