"""Confident learning: which labels do models doubt that never saw them?

A class has a threshold: the mean probability that models give to it on the exams with this label. A model is confident
of the classes that reach their thresholds, and counts the likeliest of them as the true class. A label is doubted if
that class is another one. So a class that models know badly needs less probability than one that they know well.

As in cleanlab, labels that the model itself finds likeliest are not doubted, and the most doubted label is the one with
the smallest margin: its probability, less that of the likeliest other class.

The probabilities must be out of fold: of models that were trained without the exam. Otherwise they repeat its label.

Source: Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal of Artificial
Intelligence Research 70:1373, 2021 (the confident joint, equation 1; its off-diagonal, method 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Doubts:
    """The doubted labels.

    Attributes:
        positions: int64 [D], positions of the doubted labels, the most doubted first.
        suggested: int64 [D], the class that models are confident of instead.
        margins: float64 [D], probability of the label, less that of the likeliest other class; -1 to 0.
        thresholds: float64 [K], NaN for a class without labels.
    """

    positions: NDArray[Any]
    suggested: NDArray[Any]
    margins: NDArray[Any]
    thresholds: NDArray[Any]


def doubted_labels(labels: NDArray[Any], probabilities: NDArray[Any]) -> Doubts:
    """Find the labels that models doubt.

    Args:
        labels: int [N], index of the class.
        probabilities: float [N, K], out of fold.

    Returns:
        The doubted labels. Equal margins keep the order of the labels.
    """
    count, classes = probabilities.shape
    own = np.eye(classes, dtype=bool)[labels]
    sizes = own.sum(axis=0)
    sums = np.where(own, probabilities, 0.0).sum(axis=0)
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)
    confident = probabilities >= thresholds - 1e-6  # False for a class without labels
    likely = np.where(confident, probabilities, -1.0).argmax(axis=1)
    given = probabilities[np.arange(count), labels]
    others = np.where(own, -1.0, probabilities).max(axis=1) if count else np.zeros(0)
    doubted = confident.any(axis=1) & (likely != labels) & (others > given)
    positions = np.flatnonzero(doubted)
    margins = given - others
    positions = positions[np.argsort(margins[positions], kind="stable")]
    return Doubts(positions, likely[positions], margins[positions], thresholds)
