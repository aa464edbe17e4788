"""Thresholds from few observations: conformal quantiles, and what they promise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def fewest_observations(share: float) -> int:
    """Return the number of observations below which no threshold leaves at most ``share`` of new ones above it."""
    return math.ceil(1 / share - 1e-9) - 1


def _rank(n: int, share: float) -> int:
    return math.ceil((n + 1) * (1 - share) - 1e-9)


def conformal_threshold(values: NDArray[Any], share: float, weights: NDArray[Any] | None = None) -> float:
    """Return a threshold that a new observation of the same population exceeds with a probability of at most ``share``.

    It is the smallest of the ordered values whose rank is at least (n + 1) (1 - share). The probability is that over
    both the observations and the new one.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Angelopoulos and Bates, A Gentle
    Introduction to Conformal Prediction, 2021, arXiv 2107.07511, section 1.

    Args:
        values: float [M]; without weights one per observation.
        share: Above 0 and below 1.
        weights: float [M], the part of an observation that each value stands for; they sum to the number of
            observations. None for 1 each.

    Returns:
        The threshold.

    Raises:
        ValueError: There are too few observations, see :func:`fewest_observations`.
    """
    weights = np.ones(len(values)) if weights is None else weights
    n = round(float(weights.sum()))
    rank = _rank(n, share)
    if n < 1 or rank > n:
        raise ValueError(
            f"A threshold for {share:g} of new observations needs at least {fewest_observations(share)}. Received: {n}"
        )
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, rank - 1e-9)])


def exceeding_interval(n: int, share: float) -> tuple[float, float]:
    """Return the 95 % interval of the share of new observations above a threshold of :func:`conformal_threshold`.

    The share of the population above the k-th of n ordered values has the distribution Beta(n + 1 - k, k).

    Args:
        n: Observations behind the threshold.
        share: As for the threshold.
    """
    rank = _rank(n, share)
    low, high = stats.beta.ppf([0.025, 0.975], n + 1 - rank, rank)
    return float(low), float(high)


def mean_of_subsets(rows: Sequence[NDArray[Any]], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the means of all subsets of each row's values, and the weight of each: 1 / (subsets of the row).

    Args:
        rows: Values of each observation, in any number; rows with fewer than ``size`` are left out.
        size: Values of a subset.
    """
    means: list[float] = []
    weights: list[float] = []
    for row in rows:
        of_row = [float(np.mean(subset)) for subset in itertools.combinations(row.tolist(), size)]
        means += of_row
        weights += [1 / len(of_row)] * len(of_row) if of_row else []
    return np.asarray(means), np.asarray(weights)
