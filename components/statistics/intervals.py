"""95 % intervals: Wilson's for proportions, also of clustered observations, and resamples for the bootstrap.

The images of an exam, the two breasts and the exams of a patient are alike: each patient is one cluster, and intervals
that took its images for independent would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

_Z95: Final = 1.959963984540054
_DIGITS: Final = 6
_WEIGHTS_AT_ONCE: Final = 500_000  # 4 MB a chunk of resamples: the fastest by measurement


@dataclass(frozen=True)
class Figure:
    """A figure with its uncertainty.

    Attributes:
        value: The figure, None where it is undefined.
        ci95: 95 % interval, None where it is undefined.
        n: Exams, breasts or images behind it.
    """

    value: float | None
    ci95: tuple[float, float] | None
    n: int

    def to_dict(self) -> dict[str, object]:
        """Returns the figure as JSON has it."""
        return {"value": self.value, "ci95": list(self.ci95) if self.ci95 else None, "n": self.n}


def make_figure(value: float, interval: tuple[float, float] | None, n: int) -> Figure:
    """Makes a figure, rounded to six digits; NaN becomes None, also in the interval."""
    if math.isnan(value):
        return Figure(None, None, n)
    if interval is None or any(map(math.isnan, interval)):
        return Figure(round(float(value), _DIGITS), None, n)
    low, high = interval
    return Figure(round(float(value), _DIGITS), (round(float(low), _DIGITS), round(float(high), _DIGITS)), n)


def wilson_interval(hits: float, count: float) -> tuple[float, float] | None:
    """Computes Wilson's 95 % score interval of a proportion; None without observations.

    Source: Wilson, Journal of the American Statistical Association 22(158):209, 1927.
    """
    if count <= 0:
        return None
    share, z2 = hits / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_interval(hits: np.ndarray, clusters: np.ndarray) -> tuple[float, float] | None:
    """Computes Wilson's interval with the effective number of observations.

    That number is p (1 - p) / v, with v the variance of p between clusters; where all observations agree, and v says
    nothing, it is the number of clusters. With one observation a cluster it is their number: the plain interval.

    Source: Korn, Graubard, Survey Methodology 24(2):193, 1998; Dean, Pagano, Biometrika 102(2):484, 2015.

    Args:
        hits: bool [N].
        clusters: int [N], any numbers.

    Returns:
        The interval; None without observations.
    """
    count = len(hits)
    if count == 0:
        return None
    share = float(np.mean(hits))
    _, codes = np.unique(clusters, return_inverse=True)
    groups = int(codes.max()) + 1
    effective = float(groups)
    if groups < count and groups > 1 and 0.0 < share < 1.0:
        residuals = np.bincount(codes, hits - share)
        variance = float((residuals**2).sum()) * groups / (groups - 1) / count**2
        effective = min(float(count), share * (1.0 - share) / variance) if variance > 0 else float(count)
    return wilson_interval(share * effective, effective)


def bootstrap_weights(clusters: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Draws clusters with replacement and yields how often each observation was drawn.

    Args:
        clusters: int [N], 0 to G - 1.
        draws: Resamples in all.
        seed: Seed; equal inputs give equal resamples.

    Yields:
        float64 [N, B], a chunk of the resamples; bounded in memory.
    """
    count = len(clusters)
    if count == 0:
        return
    groups = int(clusters.max()) + 1
    random = np.random.default_rng(seed)
    chunk = max(1, _WEIGHTS_AT_ONCE // count)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        drawn = random.integers(0, groups, (size, groups)) + groups * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups)
        yield times.astype(np.float64).T[clusters]


def percentile_interval(resampled: np.ndarray) -> tuple[float, float] | None:
    """Gives the 2.5 % and 97.5 % points of a figure's resamples.

    None where no resample is defined, and where they all agree: three exams that are all right resample to three exams
    that are all right, which is no evidence that the figure is exactly 1.
    """
    known = resampled[~np.isnan(resampled)]
    if not known.size or known.min() == known.max():
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
