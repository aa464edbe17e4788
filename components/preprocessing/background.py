"""Step 3: background removal. Labels, paddles, film edges and noise are not patient.

Everything here works on the small working picture (see ``grey.to_working``), in which a pixel is about 1/384
of the longest side, so all distances are shares of that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.film_labels import touching_labels

# A film edge or scanner frame is at most this wide, as a share of the picture's own width or height.
_MAX_STRIP: Final = 0.08
# A strip is brighter than what lies behind it by this share of the grey range, on average over its length,
# and most of that is lost within two pixels at its inner edge; the glow of tissue at the chest wall fades
# slowly.
_STRIP_JUMP: Final = 0.15
_STRIP_STEP: Final = 0.1
# The skin line lies this share (least, most) of the way from the noise floor to the middle grey of tissue.
_SKIN_SHARE: Final = (0.13, 0.25)
# Links between breast and label narrower than this share of the longest side are cut.
_LINK: Final = 0.055
# Labels are looked for this many times: a plate can hide behind another.
_CUTS: Final = 3
# Rows of the breast narrower than this share of its width are film edge.
_SLIVER: Final = 0.14
# Along the top and bottom film edge, parts lower than this share of the breast's height, and this many times as wide as
# high, are the glow of that edge.
_GLOW_HEIGHT: Final = 0.1
_GLOW_SHAPE: Final = 2.0
# Less than this share of the picture is no breast.
_MIN_BREAST: Final = 0.03
# Tissue must stand out of the noise floor by this share of the grey range.
_MIN_CONTRAST: Final = 0.08


@dataclass(frozen=True)
class Foreground:
    """The patient in the picture.

    Attributes:
        mask: bool [h, w], breast and muscle; all False where no breast was found.
        floor: Grey level of the background, 0..1, of the working picture.
        reason: Why no breast was found, or an empty string.
        label_cut: Whether a film label hung on the breast and was cut off.
    """

    mask: NDArray[np.bool_]
    floor: float
    reason: str = ""
    label_cut: bool = False


def frame_strips(work: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Measures bright film edges and scanner frames along the four sides.

    A breast that fills its side to the last row is as bright behind the first columns as in them; an
    unexposed or uncovered film edge is brighter than what lies behind it.

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


def _noise_floor(values: np.ndarray, split: float) -> tuple[float, float]:
    """Median and robust deviation of what is darker than the split."""
    dark = values[values < split]
    if dark.size == 0:
        return 0.0, 0.0
    floor = float(np.median(dark))
    return floor, float(1.4826 * np.median(np.abs(dark - floor)))


def _ellipse(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _largest(mask: np.ndarray) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    return (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)


def _without_holes(mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), contours, -1, (1,), thickness=cv2.FILLED)


def _without_slivers(mask: np.ndarray) -> np.ndarray:
    """Drops rows that are thin against the breast: what is left of a film edge along the chest wall."""
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size == 0:
        return mask
    # Odd: a kernel of even length would shift the mask by one pixel.
    length = 2 * max(1, round(_SLIVER * (columns[-1] - columns[0] + 1) / 2)) + 1
    line = np.ones((1, length), np.uint8)
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, line, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    return opened


def _without_glow(mask: np.ndarray, first: int, last: int) -> np.ndarray:
    """Drops what runs from the breast along the film's upper or lower edge, rows ``first`` and ``last``."""
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
    glow[0] = False  # the label of all else
    return mask * (~glow[labels]).astype(np.uint8)


def _largest_breast(lit: np.ndarray, frame: tuple[slice, slice], side: int) -> np.ndarray:
    """Finds the largest part that no narrow link holds, of what is lit inside the frame."""
    radius = max(2, round(_LINK * side / 2))
    # The frame is mirrored outwards: the breast is not rounded off where it leaves the picture, and the glow
    # of a film edge, thin even when doubled, still goes.
    pad = 2 * radius
    padded = cv2.copyMakeBorder(lit[frame], pad, pad, pad, pad, cv2.BORDER_REFLECT)
    core = _largest(cv2.morphologyEx(padded, cv2.MORPH_OPEN, _ellipse(radius)))
    grown = np.minimum(cv2.dilate(core, _ellipse(max(2, radius // 2))), padded)
    grown = cv2.morphologyEx(grown, cv2.MORPH_CLOSE, _ellipse(2))
    mask = np.zeros_like(lit)
    mask[frame] = _without_holes(_largest(grown))[pad:-pad, pad:-pad]
    return _largest(_without_glow(_without_slivers(mask), frame[0].start, frame[0].stop - 1))


def find_foreground(work: NDArray[np.float32]) -> Foreground:
    """Separates breast and muscle from background, labels, film edges and noise.

    Args:
        work: float32 [h, w], grey 0..1, bright = dense.

    Returns:
        The foreground; its ``reason`` tells why there is none.
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
    # Again where something was cut off: what is next to it has become a border.
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
