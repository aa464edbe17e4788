"""The texture features by scikit-image, scipy and numpy: what other people's code says of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage, stats
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from components.texture.features import (
    DISTANCES,
    FINE,
    LEVELS_ABSOLUTE,
    LEVELS_RELATIVE,
    QUANTILES,
    RINGS,
    SIGMAS,
)

_RELATIVE = (0.01, 0.10, 0.25, 0.75, 0.90, 0.99)
_ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(picture.astype(float), sigma, mode="nearest") if sigma else picture.astype(float)


def _moments(values: np.ndarray) -> list[float]:
    if values.size == 0:
        return [0.0] * 4
    flat = values.var() <= 1e-3
    shape = [0.0, 0.0] if flat else [stats.skew(values), stats.kurtosis(values)]
    return [values.mean(), values.std(), *shape]


def _mean(values: np.ndarray) -> float:
    return values.mean() if values.size else 0.0


def _histogram_quantiles(values: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Quantiles from a histogram with bins of a quarter of a grey level; a pixel is divided between two bins."""
    if values.size == 0:
        return [0.0] * len(shares)
    centres = np.arange(2048) / 4 - 256
    first = np.searchsorted(centres, values, side="right") - 1
    second = (values - centres[first]) * 4
    counts = np.bincount(first, 1 - second, 2048) + np.bincount(first + 1, second, 2048)
    below = np.concatenate([[0], np.cumsum(counts)])
    edges = np.append(centres, 256) - 0.125
    found = []
    for share in shares:
        wanted = share * values.size
        place = np.searchsorted(below[1:], wanted)
        found.append(edges[place] + (wanted - below[place]) / counts[place] * 0.25)
    exact = np.quantile(values, shares, method="inverted_cdf")
    assert np.abs(exact - found).max() < 0.25, "a quantile of a histogram is within a bin of the exact one"
    return found


def _shares_above(values: np.ndarray, levels: Sequence[float]) -> list[float]:
    """A pixel of grey g is spread evenly over g - .5 to g + .5."""
    return [_mean(np.clip(values + 0.5 - level, 0, 1)) for level in levels]


def _grey(picture: np.ndarray, breast: np.ndarray) -> list[float]:
    values = picture[breast].astype(float)
    at = dict(zip(QUANTILES, np.quantile(values, QUANTILES) if values.size else np.zeros(9), strict=True))
    spread = max(at[0.95] - at[0.05], 1.0)
    reach = [at[0.05] + level * (at[0.99] - at[0.05]) for level in LEVELS_RELATIVE]
    return [
        breast.mean(),
        *_moments(values),
        *at.values(),
        *((at[share] - at[0.50]) / spread for share in _RELATIVE),
        *_shares_above(values, LEVELS_ABSOLUTE),
        *_shares_above(values, reach),
    ]


def _band(values: np.ndarray) -> list[float]:
    _, deviation, skewness, kurtosis = _moments(values)
    return [_mean(np.abs(values)), deviation, skewness, kurtosis, *_histogram_quantiles(values, (0.05, 0.95))]


def _patterns(layer: np.ndarray, core: np.ndarray) -> np.ndarray:
    codes = local_binary_pattern(np.rint(layer).astype(np.int32), 8, 1, "uniform").astype(int)
    counts = np.bincount(codes[1:-1, 1:-1][core[1:-1, 1:-1]], minlength=10)
    return counts / max(counts.sum(), 1)


def _gradients(layer: np.ndarray, core: np.ndarray) -> list[float]:
    down, right = (part[1:-1, 1:-1][core[1:-1, 1:-1]] for part in np.gradient(layer))
    size = np.hypot(down, right)
    return [
        *_moments(size),
        *_histogram_quantiles(size, (0.95,)),
        _mean(np.abs(down)),
        _mean(np.abs(right)),
        _mean(down * right) / max(_mean(size**2), 1e-3),
    ]


def _co_occurrence(picture: np.ndarray, breast: np.ndarray) -> list[float]:
    codes = np.where(breast, picture // 16 + 1, 0).astype(np.uint8)
    rows = []
    for distance in DISTANCES:
        counts = graycomatrix(codes, [distance], _ANGLES, levels=17, symmetric=True)[1:, 1:].astype(np.float64)
        named = {name: graycoprops(counts, name)[0] for name in ("contrast", "dissimilarity", "homogeneity", "ASM")}
        named["correlation"] = graycoprops(counts, "correlation")[0]
        share = counts / np.maximum(counts.sum(axis=(0, 1)), 1)
        named["entropy"] = np.nan_to_num(stats.entropy(share.reshape(256, 4), axis=0))  # NaN where there is no pair
        rows += [named[name].mean() for name in named]
        rows += [named["contrast"].std(), named["correlation"].std()]
    return rows


def _rings(picture: np.ndarray, bands: Sequence[np.ndarray], breast: np.ndarray) -> list[float]:
    grey = picture.astype(float)
    # The edge of the picture is no skin: scipy's transform knows no pixels beyond it.
    far = picture.shape[0] * 2
    depth = ndimage.distance_transform_cdt(breast, "chessboard") if not breast.all() else np.full(breast.shape, far)
    ends = [0, *(max(1, picture.shape[0] // part) for part in RINGS), far + 1]
    rows = []
    for start, end in pairwise(ends):
        ring = (depth > start) & (depth <= end)
        values = grey[ring]
        rows += [
            ring.sum() / max(breast.sum(), 1),
            values.mean() - grey[breast].mean() if values.size else 0.0,
            values.std() if values.size else 0.0,
            *(_mean(np.abs(bands[band][ring])) for band in (1, 2, 3)),
        ]
    return rows


def reference_features(picture: np.ndarray) -> np.ndarray:
    """Measure a picture, uint8 [S, S], chest wall at the left: float64 [F]."""
    breast = picture > 0
    side = picture.shape[0]
    levels = [_blurred(picture, sigma) for sigma in SIGMAS]
    bands = [*(a - b for a, b in pairwise(levels)), levels[-1]]
    thin = max(1, side // RINGS[0])
    core = (ndimage.distance_transform_cdt(breast, "chessboard") > thin) if not breast.all() else breast
    fine = [_blurred(picture, sigma) for sigma in FINE]
    return np.concatenate(
        [
            _grey(picture, breast),
            *(_band(band[core]) for band in bands),
            *(_patterns(layer, core) for layer in fine),
            *(_gradients(layer, core) for layer in fine),
            _co_occurrence(picture, breast),
            _rings(picture, bands, breast),
        ]
    )
