"""Films changed in ways that scanners, exposure and positioning change them, with the truth changed alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.segmentation import Case

_TISSUE: Final = 20  # grey level of 255; darker is background
_DARK: Final = 1.8  # exponent
_STEEP: Final = 9.0  # slope of the film curve at its middle
_FAINT: Final = 0.6  # share of the muscle's grey step that is taken away
_CUT: Final = (0.12, 0.40)  # share of the breast's width at the chest wall, and of the muscle's height at the top
_MARKER: Final = (0.05, 0.07, 250)  # half of height and of width as shares of the picture, and grey level

Alteration = Callable[[Case], Case]


def wall_is_left(case: Case) -> bool:
    """Return True if the muscle, and so the chest wall, is in the left half; the muscle is not empty."""
    half = case.muscle.shape[1] // 2
    return bool(case.muscle[:, :half].sum() > case.muscle[:, -half:].sum())


def grey_step(case: Case) -> float:
    """Return the mean grey step from the breast to the muscle, within 6 % of the picture's width of the true edge."""
    reach = max(3, round(0.06 * case.pixels.shape[1]))
    kernel = np.ones((reach, reach), np.uint8)
    muscle = case.muscle.astype(np.uint8)
    inside = case.muscle & (cv2.erode(muscle, kernel, borderValue=(1,)) == 0)
    outside = (cv2.dilate(muscle, kernel) > 0) & ~case.muscle & (case.pixels > _TISSUE)
    if not inside.any() or not outside.any():
        return 0.0
    return float(case.pixels[inside].mean() - case.pixels[outside].mean())


def _toned(case: Case, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Case:
    levels = np.rint(255 * np.clip(curve(np.arange(256) / 255), 0, 1)).astype(np.uint8)
    return replace(case, pixels=levels[case.pixels])


def _steep(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = (1 / (1 + np.exp(-_STEEP * (end - 0.5))) for end in (0.0, 1.0))
    return np.asarray((1 / (1 + np.exp(-_STEEP * (grey - 0.5))) - low) / (high - low))


def _faint(case: Case) -> Case:
    soft = cv2.GaussianBlur(case.muscle.astype(np.float32), (0, 0), case.pixels.shape[1] / 80)
    grey = case.pixels - _FAINT * grey_step(case) * soft
    return replace(case, pixels=np.clip(grey, 0, 255).astype(np.uint8))


def _cropped(case: Case, window: tuple[slice, slice]) -> Case:
    pixels, muscle = (np.ascontiguousarray(values[window]) for values in (case.pixels, case.muscle))
    return replace(case, pixels=pixels, muscle=muscle)


def _wall_cut(case: Case) -> Case:
    columns = np.flatnonzero((case.pixels > _TISSUE).mean(axis=0) > 0.05)
    lost = round(_CUT[0] * (columns[-1] - columns[0]))
    kept = slice(int(columns[0]) + lost, None) if wall_is_left(case) else slice(None, int(columns[-1]) - lost)
    return _cropped(case, (slice(None), kept))


def _top_cut(case: Case) -> Case:
    rows = np.flatnonzero(case.muscle.any(axis=1))
    return _cropped(case, (slice(int(rows[0] + _CUT[1] * (rows[-1] - rows[0])), None), slice(None)))


def _marker(case: Case) -> Case:
    """Put a bright plate on the middle of the true edge."""
    row = int(np.median(np.nonzero(case.muscle)[0]))
    columns = np.flatnonzero(case.muscle[row])
    column = int(columns[-1] if wall_is_left(case) else columns[0])
    half = [max(1, round(share * side)) for share, side in zip(_MARKER[:2], case.pixels.shape, strict=True)]
    pixels = case.pixels.copy()
    pixels[max(0, row - half[0]) : row + half[0], max(0, column - half[1]) : column + half[1]] = _MARKER[2]
    return replace(case, pixels=pixels)


@dataclass(frozen=True)
class Kind:
    """One way to change a film.

    Attributes:
        words: What is changed.
        alter: Returns the changed case; pixels are uint8 and the muscle is not empty.
    """

    words: str
    alter: Alteration


KINDS: Final = {
    "dark": Kind("dark film (gamma 1.8)", lambda case: _toned(case, lambda grey: grey**_DARK)),
    "steep": Kind("steep film curve", lambda case: _toned(case, _steep)),
    "faint": Kind("faint muscle (40 % of its grey step)", _faint),
    "wall": Kind("chest wall cut off (12 % of the width)", _wall_cut),
    "top": Kind("top cut off (40 % of the muscle's height)", _top_cut),
    "marker": Kind("bright plate on the muscle's edge", _marker),
}
