"""A figure with its 95 % interval, and how intervals are computed.

Proportions have Wilson's interval, also for clustered observations. The other metrics have a bootstrap. The images of
an exam, the two breasts and the exams of a patient resemble each other: each patient is one cluster. Intervals that
take its images as independent are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

SMALL_N: Final = 20  # fewer observations are too few to judge
_Z95: Final = 1.959963984540054
_DIGITS: Final = 6
_TINY: Final = 1e-12
_WEIGHTS_AT_ONCE: Final = 500_000  # 4 MB per chunk of resamples: the fastest size measured


class Figure(BaseModel):
    """The value of a metric on some observations, with its uncertainty. JSON files have these fields.

    Attributes:
        value: The value; None if it is undefined.
        ci95: 95 % interval; None if it is undefined.
        n: Exams, breasts or images behind the value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    value: float | None
    ci95: tuple[float, float] | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, numbers rounded to six digits."""
        rounded = {"value": _round(self.value), "ci95": self.ci95 and tuple(map(_round, self.ci95))}
        return self.model_copy(update=rounded).model_dump(mode="json", by_alias=True)


class Mean(Figure):
    """The mean of a score over views; JSON files call its value ``mean``.

    Attributes:
        value: The mean; None without views.
        exams: Exams of the ``n`` views.
    """

    value: float | None = Field(alias="mean")
    exams: int = 0


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), _DIGITS)


def make_figure(value: float, interval: tuple[float, float] | None, n: int) -> Figure:
    """Return a figure, rounded to six digits; NaN becomes None, also in the interval."""
    if math.isnan(value):
        return Figure(value=None, ci95=None, n=n)
    if interval is None or any(map(math.isnan, interval)):
        return Figure(value=round(float(value), _DIGITS), ci95=None, n=n)
    low, high = interval
    return Figure(
        value=round(float(value), _DIGITS), ci95=(round(float(low), _DIGITS), round(float(high), _DIGITS)), n=n
    )


def wilson_interval(hits: float, count: float) -> tuple[float, float] | None:
    """Return Wilson's 95 % score interval of a proportion; None without observations.

    Source: Wilson, Journal of the American Statistical Association 22(158):209, 1927.
    """
    if count <= 0:
        return None
    share, z2 = hits / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_interval(hits: NDArray[Any], clusters: NDArray[Any]) -> tuple[float, float] | None:
    """Return Wilson's interval with the effective number of observations.

    That number is p (1 - p) / v, where v is the variance of p between clusters. If all observations agree, v carries no
    information, and the number is the number of clusters. With one observation per cluster it is the number of
    observations: the plain interval.

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


def paired_interval(now: NDArray[Any], before: NDArray[Any], clusters: NDArray[Any]) -> tuple[float, float] | None:
    """Return the 95 % score interval of the difference of two proportions of the same observations.

    It excludes 0 exactly if McNemar's test is significant at 5 %, so a few observations that all changed one way are
    not taken for evidence; a bootstrap would take three of five for it. Clusters widen it: their design effect, at
    least 1, divides the counts.

    Source: Tango, Statistics in Medicine 17(8):891, 1998; for the design effect see :func:`clustered_interval`.

    Args:
        now: bool [N], hits of the first proportion.
        before: bool [N], hits of the second.
        clusters: int [N], any numbers.

    Returns:
        The interval of ``now`` minus ``before``; None without observations.
    """
    count = len(now)
    if count == 0:
        return None
    change = now.astype(np.float64) - before
    difference = float(change.mean())
    scale = 1.0
    _, codes = np.unique(clusters, return_inverse=True)
    groups = int(codes.max()) + 1
    alone = float(((change - difference) ** 2).sum()) / count**2
    if 1 < groups < count and alone > 0:
        residuals = np.bincount(codes, change - difference)
        scale = min(1.0, alone / max(float((residuals**2).sum()) * groups / (groups - 1) / count**2, _TINY))
    gained, lost = scale * float((change > 0).sum()), scale * float((change < 0).sum())
    return _score_limit(gained, lost, scale * count, upper=False), _score_limit(gained, lost, scale * count, upper=True)


def _score_limit(gained: float, lost: float, count: float, upper: bool) -> float:
    """Return the difference at which Tango's statistic reaches the 97.5 % point, by bisection."""

    def beyond(delta: float) -> bool:
        b = 2 * count - gained + lost
        linear = -gained - lost + b * delta
        shared = (math.sqrt(max(linear**2 + 8 * count * lost * delta * (1 - delta), 0.0)) - linear) / (4 * count)
        variance = count * (2 * shared + delta * (1 - delta))
        distance = abs(gained - lost - count * delta)
        return distance > _Z95 * math.sqrt(max(variance, 0.0))

    inside, outside = (gained - lost) / count, 1.0 if upper else -1.0
    if not beyond(outside):
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
    return inside


def bootstrap_weights(clusters: NDArray[Any], draws: int, seed: int) -> Iterator[NDArray[Any]]:
    """Draw clusters with replacement and yield how often each observation was drawn.

    Args:
        clusters: int [N], 0 to G - 1.
        draws: Resamples in total.
        seed: Seed; equal inputs give equal resamples.

    Yields:
        float64 [N, B], one chunk of the resamples, so that memory stays bounded.
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


def percentile_interval(resampled: NDArray[Any]) -> tuple[float, float] | None:
    """Return the 2.5 % and 97.5 % percentiles of a metric's resamples.

    None if no resample is defined, or if all of them agree: three exams that are all right resample to three exams that
    are all right, which is not evidence that the metric is exactly 1.
    """
    known = resampled[~np.isnan(resampled)]
    if not known.size or known.min() == known.max():
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
