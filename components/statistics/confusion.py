"""Metrics of a confusion matrix.

Every function takes one matrix or a stack of matrices (rows are the true class, columns the predicted class), so that
the same code computes a metric and its bootstrap distribution. An undefined value is NaN, never 0:

* recall of an absent class, precision of a class that is never predicted;
* kappa if the truth has only one class: it would be 0 by construction, whatever the grades (scikit-learn returns 0, or
  NaN if the grades have one class too).

Macro averages run over the classes that are present in the truth, as in scikit-learn's balanced accuracy. A class that
is present and never predicted counts with precision 0 (``labels=present, zero_division=0``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schema.features import DENSITY_CLASSES

CLASSES: Final = len(DENSITY_CLASSES)
DENSE_FROM: Final = DENSITY_CLASSES.index("C")  # C and D are dense
STEPS: Final = np.abs(np.arange(CLASSES)[:, None] - np.arange(CLASSES)[None, :])  # classes between truth and grade


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[Any]:
    """Divide; a denominator of 0 gives NaN, "undefined"."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)


def _mean_where(values: NDArray[Any], present: NDArray[Any]) -> NDArray[Any]:
    return _ratio(np.where(present, np.nan_to_num(values), 0.0).sum(-1), present.sum(-1))


def accuracy(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the share of right grades, [..., 4, 4] to [...]."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def macro_recall(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the mean recall of the classes that are present, [..., 4, 4] to [...]."""
    recalls = _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1))
    return _mean_where(recalls, matrix.sum(-1) > 0)


def macro_precision(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the mean precision of the classes that are present, [..., 4, 4] to [...]."""
    precisions = _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-2))
    return _mean_where(precisions, matrix.sum(-1) > 0)


def weighted_kappa(matrix: NDArray[Any], power: int) -> NDArray[Any]:
    """Return Cohen's kappa, weighted by the distance between the classes, [..., 4, 4] to [...].

    Source: Cohen, Educational and Psychological Measurement 20(1):37, 1960; with weights, Psychological Bulletin
    70(4):213, 1968.

    Args:
        matrix: Counts.
        power: 0 for no weights, 1 for linear weights, 2 for quadratic weights.
    """
    weights = np.where(STEPS > 0, STEPS**power, 0)
    observed = (weights * matrix).sum((-2, -1))
    products = matrix.sum(-1)[..., :, None] * matrix.sum(-2)[..., None, :]
    by_chance = _ratio(products, matrix.sum((-2, -1))[..., None, None])
    several = (matrix.sum(-1) > 0).sum(-1) > 1
    return np.where(several, 1.0 - _ratio(observed, (weights * by_chance).sum((-2, -1))), np.nan)
