"""Draw readers who agree with each other by a known quadratic weighted kappa, for tests and teaching.

A reader of an exam of class t chooses class k with a probability proportional to exp(-(k - t)^2 / (2 s^2)): errors by
one class are the most frequent, and errors of different readers are independent. The spread s is the one with which two
such readers have the wanted kappa on these exams: it is computed from the expected confusion matrix, not from a sample.
Real readers also have habits: one may always choose the denser class, and exams that are hard for one are hard for all.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.statistics.confusion import CLASSES, STEPS, weighted_kappa

_SPREADS: Final = (0.05, 50.0)  # from readers without an error to readers who guess
_HALVINGS: Final = 60


def reader_errors(spread: float) -> NDArray[Any]:
    """Return the probability of each class (column) for an exam of each class (row), float64 [4, 4]."""
    scores = np.exp(-(STEPS**2) / (2 * spread**2))
    result: NDArray[Any] = scores / scores.sum(axis=1, keepdims=True)
    return result


def kappa_between_readers(errors: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the expected quadratic kappa between two readers.

    Args:
        errors: float [4, 4], see :func:`reader_errors`.
        truth: Number of exams of each class, [4].
    """
    return float(weighted_kappa(errors.T @ (truth[:, None] * errors), 2))


def kappa_with_truth(errors: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the expected quadratic kappa between a reader and the truth; arguments as above."""
    return float(weighted_kappa(truth[:, None] * errors, 2))


def fit_errors(kappa: float, truth: NDArray[Any]) -> NDArray[Any]:
    """Return the errors with which two readers have a quadratic kappa.

    Args:
        kappa: The expected quadratic kappa between two readers.
        truth: Number of exams of each class, [4].

    Returns:
        float64 [4, 4].

    Raises:
        ValueError: Kappa is not between .05 and 1, or the exams are of one class.
    """
    if not 0.05 <= kappa <= 1:
        raise ValueError(f"The kappa of readers must be between 0.05 and 1. Received: {kappa}")
    if np.count_nonzero(truth) < 2:
        raise ValueError("Kappa needs exams of two classes or more: with one class it is undefined.")
    low, high = _SPREADS
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if kappa_between_readers(reader_errors(middle), truth) > kappa else (low, middle)
    return reader_errors(low)


def draw_readers(truth: NDArray[Any], readers: int, kappa: float, seed: int) -> NDArray[Any]:
    """Draw the readers' classes.

    Args:
        truth: int [N], index of the class of each exam.
        readers: Number of readers.
        kappa: Expected quadratic kappa between two readers, see :func:`fit_errors`.
        seed: Seed; equal arguments give equal readers.

    Returns:
        int64 [N, readers].
    """
    errors = fit_errors(kappa, np.bincount(truth, minlength=CLASSES))
    steps = np.cumsum(errors, axis=1)[truth, :-1]
    drawn = np.random.default_rng(seed).random((len(truth), readers))
    result: NDArray[Any] = (drawn[:, :, None] > steps[:, None, :]).sum(axis=2)
    return result
