"""Density figures that a confusion matrix tells.

Every function takes one matrix or a stack of them (rows are the true class, columns the predicted one), so that the
same code gives a figure and its bootstrap distribution. NaN is "undefined", never 0:

* recall of a class that is absent, precision of a class that is never predicted;
* kappa where the truth has one class alone: it would be 0 by construction, whatever the grades (scikit-learn says 0,
  or NaN if the grades have one class too).

Macro averages run over the classes that are there in truth, as scikit-learn's balanced accuracy does; a class that is
there and never predicted has precision 0 in them (``labels=present, zero_division=0``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schema.features import DENSITY_CLASSES

CLASSES: Final = len(DENSITY_CLASSES)
DENSE_FROM: Final = DENSITY_CLASSES.index("C")  # C and D are dense
_STEPS: Final = np.abs(np.arange(CLASSES)[:, None] - np.arange(CLASSES)[None, :])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides; 0 in the denominator gives NaN, "undefined"."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)


def _mean_where(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    return _ratio(np.where(there, np.nan_to_num(values), 0.0).sum(-1), there.sum(-1))


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Gives the share of right grades, [..., 4, 4] to [...]."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def recalls(matrix: np.ndarray) -> np.ndarray:
    """Gives each class's recall, [..., 4, 4] to [..., 4]; NaN where the class is absent."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1))


def precisions(matrix: np.ndarray) -> np.ndarray:
    """Gives each class's precision, [..., 4, 4] to [..., 4]; NaN where the class is never predicted."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-2))


def macro_recall(matrix: np.ndarray) -> np.ndarray:
    """Averages the recall over the classes that are there, [..., 4, 4] to [...]."""
    return _mean_where(recalls(matrix), matrix.sum(-1) > 0)


def macro_precision(matrix: np.ndarray) -> np.ndarray:
    """Averages the precision over the classes that are there; one that is never predicted counts 0."""
    return _mean_where(precisions(matrix), matrix.sum(-1) > 0)


def weighted_kappa(matrix: np.ndarray, power: int) -> np.ndarray:
    """Gives Cohen's kappa weighted by the distance of the classes, [..., 4, 4] to [...].

    Source: Cohen, Psychological Bulletin 70(4):213, 1968.

    Args:
        matrix: Counts.
        power: 1 for linear weights, 2 for quadratic ones.
    """
    weights = _STEPS**power
    observed = (matrix * weights).sum((-2, -1))
    chance = matrix.sum(-1)[..., :, None] * matrix.sum(-2)[..., None, :]
    expected = _ratio((chance * weights).sum((-2, -1)), matrix.sum((-2, -1)))
    several = (matrix.sum(-1) > 0).sum(-1) > 1
    return np.where(several, 1.0 - _ratio(observed, expected), np.nan)


def dense_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Gives the share of right dense (C, D) or non-dense (A, B) grades, [..., 4, 4] to [...]."""
    fatty = matrix[..., :DENSE_FROM, :DENSE_FROM].sum((-2, -1))
    dense = matrix[..., DENSE_FROM:, DENSE_FROM:].sum((-2, -1))
    return _ratio(fatty + dense, matrix.sum((-2, -1)))


def off_by_two(matrix: np.ndarray) -> np.ndarray:
    """Counts grades that are two or three classes off, [..., 4, 4] to [...]; NaN without any grade."""
    total = matrix.sum((-2, -1))
    return np.where(total > 0, (matrix * (_STEPS >= 2)).sum((-2, -1)), np.nan)


def density_metrics(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Gives every figure by name.

    Args:
        matrix: [..., 4, 4], counts.

    Returns:
        Arrays [...] (NaN = undefined): accuracy, macro_recall, macro_precision, quadratic_kappa, linear_kappa,
        dense_accuracy, off_by_two, recall_A to recall_D, precision_A to precision_D.
    """
    matrix = np.asarray(matrix, np.float64)
    figures = {
        "accuracy": accuracy(matrix),
        "macro_recall": macro_recall(matrix),
        "macro_precision": macro_precision(matrix),
        "quadratic_kappa": weighted_kappa(matrix, 2),
        "linear_kappa": weighted_kappa(matrix, 1),
        "dense_accuracy": dense_accuracy(matrix),
        "off_by_two": off_by_two(matrix),
    }
    by_class = {"recall": recalls(matrix), "precision": precisions(matrix)}
    for name, values in by_class.items():
        figures |= {f"{name}_{density}": values[..., i] for i, density in enumerate(DENSITY_CLASSES)}
    return figures
