"""How far chance alone moves two samples of one population apart.

A threshold says which difference would matter. Few exams differ by more than that without any drift: of four classes,
30 exams and 120 others differ by 0.2 in the share of a class every now and then. So a distance has to exceed both.
Views of an exam are no independent observations, hence numbers of exams go in here, not of views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats


def chance_of_shares(shares: Sequence[float], n: int, others: int, error: float) -> float:
    """Bounds the L-infinity distance of the shares of values in two samples of one population.

    Args:
        shares: Share of each value in both samples together.
        n: Observations of one sample, at least 1.
        others: Observations of the other, at least 1.
        error: Probability with which chance exceeds the bound, at most (normal approximation, Bonferroni's correction
            for the number of values).

    Returns:
        The bound, 0 to 1.
    """
    z = float(stats.norm.ppf(1 - error / (2 * max(1, len(shares)))))
    variance = max((share * (1 - share) for share in shares), default=0.0)
    return min(1.0, z * math.sqrt(variance * (1 / n + 1 / others)))


def chance_of_divergence(bins: int, n: int, others: int, error: float) -> float:
    """Bounds the Jensen-Shannon divergence (base 2) of the histograms of two samples of one population.

    The divergence is at most half the triangular discrimination of both histograms (Topsoe 2000, Some inequalities for
    information divergence and related measures of discrimination), which is distributed as chi-squared.

    Args:
        bins: Bins of the histograms' common form.
        n: Observations of one sample, at least 1.
        others: Observations of the other, at least 1.
        error: Probability with which chance exceeds the bound, at most, where bins hold some observations.

    Returns:
        The bound, 0 to 1.
    """
    if bins < 2:
        return 0.0
    quantile = float(stats.chi2.ppf(1 - error, bins - 1))
    return min(1.0, quantile * (1 / n + 1 / others) / 4)
