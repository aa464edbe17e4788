"""Density metrics as functions of confusion matrices, and their intervals.

Every function takes one matrix or a stack of them (rows are the true class, columns the predicted one), so that the
same code gives a figure and its bootstrap distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from schema.features import DENSITY_CLASSES

_CLASSES: Final = len(DENSITY_CLASSES)
_DENSE_FROM: Final = DENSITY_CLASSES.index("C")  # C and D are dense
_Z95: Final = 1.959963984540054


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides; 0 in the denominator gives NaN, "undefined"."""
    with np.errstate(divide="ignore", invalid="ignore"):
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


def quadratic_kappa(matrix: np.ndarray) -> np.ndarray:
    """Gives Cohen's kappa with quadratic weights, [..., 4, 4] to [...]; NaN with one class alone.

    Source: Cohen, Psychological Bulletin 70(4):213, 1968.
    """
    steps = np.arange(_CLASSES)
    weights = (steps[:, None] - steps[None, :]) ** 2
    observed = (matrix * weights).sum((-2, -1))
    chance = matrix.sum(-1)[..., :, None] * matrix.sum(-2)[..., None, :]
    expected = _ratio((chance * weights).sum((-2, -1)), matrix.sum((-2, -1)))
    return 1.0 - _ratio(observed, expected)


def dense_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Gives the share of right dense (C, D) or non-dense (A, B) grades, [..., 4, 4] to [...]."""
    right = matrix[..., :_DENSE_FROM, :_DENSE_FROM].sum((-2, -1)) + matrix[..., _DENSE_FROM:, _DENSE_FROM:].sum(
        (-2, -1)
    )
    return _ratio(right, matrix.sum((-2, -1)))


def density_metrics(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Gives every figure by name.

    Args:
        matrix: [..., 4, 4], counts.

    Returns:
        Arrays [...] (NaN = undefined): accuracy, macro_recall, macro_precision, quadratic_kappa, dense_accuracy,
        recall_A to recall_D, precision_A to precision_D.
    """
    matrix = np.asarray(matrix, np.float64)
    figures = {
        "accuracy": accuracy(matrix),
        "macro_recall": macro_recall(matrix),
        "macro_precision": macro_precision(matrix),
        "quadratic_kappa": quadratic_kappa(matrix),
        "dense_accuracy": dense_accuracy(matrix),
    }
    by_class = {"recall": recalls(matrix), "precision": precisions(matrix)}
    for name, values in by_class.items():
        figures |= {f"{name}_{density}": values[..., i] for i, density in enumerate(DENSITY_CLASSES)}
    return figures


@dataclass(frozen=True)
class Figure:
    """A figure with its uncertainty.

    Attributes:
        value: The figure, None where it is undefined.
        ci95: 95 % interval, None where it is undefined.
        n: Exams or views behind it.
    """

    value: float | None
    ci95: tuple[float, float] | None
    n: int

    def to_dict(self) -> dict[str, object]:
        """Returns the figure as JSON has it."""
        return {"value": self.value, "ci95": list(self.ci95) if self.ci95 else None, "n": self.n}


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


def figures_with_intervals(matrix: np.ndarray, draws: int, seed: int) -> dict[str, Figure]:
    """Gives every figure with its 95 % interval.

    Proportions have Wilson's interval. The others have a percentile bootstrap over the exams: drawing exams with
    replacement and counting them is drawing the matrix's cells from a multinomial distribution, which is what runs.

    Args:
        matrix: int [4, 4].
        draws: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        Figures by name, rounded to six digits.
    """
    matrix = np.asarray(matrix, np.int64)
    total = int(matrix.sum())
    values = density_metrics(matrix)
    proportions = {
        "accuracy": (int(np.trace(matrix)), total),
        "dense_accuracy": (round(float(np.nan_to_num(values["dense_accuracy"])) * total), total),
        **{f"recall_{c}": (int(matrix[i, i]), int(matrix[i].sum())) for i, c in enumerate(DENSITY_CLASSES)},
        **{f"precision_{c}": (int(matrix[i, i]), int(matrix[:, i].sum())) for i, c in enumerate(DENSITY_CLASSES)},
    }
    resampled: dict[str, np.ndarray] = {}
    if total:
        drawn = np.random.default_rng(seed).multinomial(total, matrix.ravel() / total, size=draws)
        resampled = density_metrics(drawn.reshape(draws, _CLASSES, _CLASSES))
    result = {}
    for name, value in values.items():
        if name in proportions:
            hits, count = proportions[name]
            interval = wilson_interval(hits, count)
        else:
            count = total
            known = resampled[name][~np.isnan(resampled[name])] if resampled else np.array([])
            interval = tuple(np.percentile(known, [2.5, 97.5])) if known.size else None
        defined = not np.isnan(value)
        result[name] = Figure(
            round(float(value), 6) if defined else None,
            (round(float(interval[0]), 6), round(float(interval[1]), 6)) if defined and interval else None,
            count,
        )
    return result
