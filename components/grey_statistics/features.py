"""Cheap grey statistics of one preprocessed picture: how much bright tissue it has, and how coarse its texture is.

They are what a density reader sees first, and need no training. Picture and mask are halved again and again; at each
scale the energy is the spread of what a blur of that scale removes.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from schema.features import REGION_BREAST

_SIDE: Final = 128  # pixels; larger pictures are reduced to this size first, so that a scale means the same in all
_QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_LEVELS: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of white
_BETWEEN: Final = (0.3, 0.5, 0.7)  # of the way from the darkest to the brightest tissue
_SCALES: Final = 5
_SMALLEST: Final = 1e-3  # of white; a spread below is none
FEATURES: Final = (
    "area",
    *(f"quantile_{q:g}" for q in _QUANTILES),
    *("mean", "deviation", "skewness"),
    *(f"share_above_{level:g}" for level in _LEVELS),
    *(f"share_above_{part:g}_of_range" for part in _BETWEEN),
    *(f"energy_{2**scale}" for scale in range(_SCALES)),
)


def _reduced(picture: NDArray[Any], regions: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return grey values, 0..1, and the share of tissue of each pixel, 0..1; float32 [h, w] both."""
    tissue = (picture > 0 if regions is None else regions == REGION_BREAST).astype(np.float32)
    grey = picture.astype(np.float32) / np.float32(255)
    scale = _SIDE / max(picture.shape)
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        total = cv2.resize(tissue, size, interpolation=cv2.INTER_AREA)
        grey = cv2.resize(grey * tissue, size, interpolation=cv2.INTER_AREA) / np.maximum(total, _SMALLEST)
        tissue = total
    return grey, tissue


def _energies(grey: NDArray[Any], tissue: NDArray[Any]) -> list[float]:
    """Return the logarithm of the spread at each scale; the blur is of tissue only, so the skin is no edge."""
    energies = []
    weighted = grey * tissue
    for _ in range(_SCALES):
        blurred, share = cv2.GaussianBlur(weighted, (5, 5), 1.0), cv2.GaussianBlur(tissue, (5, 5), 1.0)
        removed = weighted - tissue * blurred / np.maximum(share, _SMALLEST)
        spread = float(np.sqrt((removed**2).sum() / max(float(tissue.sum()), 1.0)))
        energies.append(float(np.log(max(spread, _SMALLEST))))
        half = (max(1, weighted.shape[1] // 2), max(1, weighted.shape[0] // 2))
        weighted, tissue = (cv2.resize(part, half, interpolation=cv2.INTER_AREA) for part in (blurred, share))
    return energies


def grey_statistics(picture: NDArray[Any], regions: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return the statistics of a picture.

    Args:
        picture: uint8 [H, W], a preprocessed view, background 0.
        regions: uint8 [H, W] of ``schema.features.REGION_`` values; None takes every pixel above 0 as tissue, which
            includes the flat grey where the muscle was.

    Returns:
        float64, one value per name in `FEATURES`; zeros if the picture has no tissue.
    """
    grey, tissue = _reduced(picture, regions)
    values = np.sort(grey[tissue > 0.5]).astype(np.float64)
    if not values.size:
        return np.zeros(len(FEATURES))
    quantiles = np.interp(np.array(_QUANTILES) * (values.size - 1), np.arange(values.size), values)
    mean, deviation = values.mean(), values.std()
    skewness = ((values - mean) ** 3).mean() / max(deviation, _SMALLEST) ** 3
    low, high = quantiles[0], quantiles[-1]
    bounds = np.array([*_LEVELS, *(low + part * max(high - low, _SMALLEST) for part in _BETWEEN)])
    shares = 1 - np.searchsorted(values, bounds, side="right") / values.size
    area = values.size / grey.size
    return np.array([area, *quantiles, mean, deviation, skewness, *shares, *_energies(grey, tissue)])
