"""All figures of a set of observations with their 95 % intervals, and the paired comparison of two models.

Proportions (accuracy, recalls, precisions, top-2, top-3, dense accuracy) and the count of grades two classes off have
Wilson's interval, which is right near 0 and 1; the others a percentile bootstrap, which is corrected for calibration
errors (see :mod:`components.statistics.calibration_error`). All respect clusters: exams of one patient, breasts and
images of one exam.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from components.statistics.calibration_error import calibration_error_interval, calibration_errors, gaps_by_bin
from components.statistics.confusion import CLASSES, DENSE_FROM, density_metrics
from components.statistics.intervals import (
    Figure,
    bootstrap_weights,
    clustered_interval,
    make_figure,
    percentile_interval,
)
from components.statistics.ranking import dense_auc, log_losses, macro_auc, ranks_of_truth
from components.statistics.scores import Scores
from schema.features import DENSITY_CLASSES

SMALL_N: Final = 20  # fewer observations are too few to judge
COMPARED: Final = ("accuracy", "macro_recall", "quadratic_kappa", "dense_accuracy")
FLIPS: Final = "dense_flips"
_TOPS: Final = (2, 3)


def confusion_matrix(scores: Scores) -> np.ndarray:
    """Counts true (rows) and predicted classes, int64 [4, 4]."""
    cells = np.bincount(scores.labels * CLASSES + scores.predicted, minlength=CLASSES**2)
    return cells.reshape(CLASSES, CLASSES)


def _matrices(scores: Scores, weights: np.ndarray) -> np.ndarray:
    """Counts with weights, float64 [B, 4, 4]."""
    cells = np.zeros((len(scores.labels), CLASSES**2))
    cells[np.arange(len(scores.labels)), scores.labels * CLASSES + scores.predicted] = 1.0
    return (cells.T @ weights).T.reshape(-1, CLASSES, CLASSES)


def _gaps(scores: Scores, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Gives the gaps behind each calibration error by its name, float64 [B, bins]."""
    gaps = {"ece": gaps_by_bin(scores.probabilities, scores.labels, weights)}
    return gaps if scores.raw is None else gaps | {"uncalibrated_ece": gaps_by_bin(scores.raw, scores.labels, weights)}


def measure(scores: Scores, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Computes every figure for many weightings.

    Args:
        scores: N observations.
        weights: float [N, B].

    Returns:
        float64 [B] by name (NaN = undefined): those of :func:`components.statistics.confusion.density_metrics`, then
        ``dense_auc``, ``macro_auc``, ``top_2_accuracy``, ``top_3_accuracy``, ``ece``, ``nll``, and where a
        temperature was applied ``uncalibrated_ece`` and ``uncalibrated_nll``.
    """
    probabilities, labels = scores.probabilities, scores.labels
    figures = density_metrics(_matrices(scores, weights))
    figures["dense_auc"] = dense_auc(probabilities, labels, weights)
    figures["macro_auc"] = macro_auc(probabilities, labels, weights)
    total = weights.sum(axis=0)
    ranks = ranks_of_truth(probabilities, labels)
    for k in _TOPS:
        hits = (ranks < k).astype(np.float64) @ weights
        figures[f"top_{k}_accuracy"] = np.where(total > 0, hits / np.maximum(total, 1), np.nan)
    figures |= {name: calibration_errors(gaps) for name, gaps in _gaps(scores, weights).items()}
    figures["nll"] = log_losses(probabilities, labels, weights)
    if scores.raw is not None:
        figures["uncalibrated_nll"] = log_losses(scores.raw, labels, weights)
    return figures


def _proportions(scores: Scores) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Gives for each proportion the observations that count, and which of them are hits: bool [N] each."""
    labels, predicted = scores.labels, scores.predicted
    everything, right = np.ones(len(labels), bool), predicted == labels
    ranks = ranks_of_truth(scores.probabilities, labels)
    parts = {
        "accuracy": (everything, right),
        "dense_accuracy": (everything, (labels >= DENSE_FROM) == (predicted >= DENSE_FROM)),
        "off_by_two": (everything, np.abs(labels - predicted) >= 2),
    }
    parts |= {f"top_{k}_accuracy": (everything, ranks < k) for k in _TOPS}
    for index, density in enumerate(DENSITY_CLASSES):
        parts[f"recall_{density}"] = (labels == index, right)
        parts[f"precision_{density}"] = (predicted == index, right)
    return parts


def _bootstrap_intervals(
    scores: Scores, names: set[str], draws: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    chunks = [(measure(scores, w), _gaps(scores, w)) for w in bootstrap_weights(scores.clusters, draws, seed)]
    if not chunks:
        return {}
    intervals = {name: percentile_interval(np.concatenate([chunk[name] for chunk, _ in chunks])) for name in names}
    for name, gaps in _gaps(scores, np.ones((len(scores.labels), 1))).items():
        intervals[name] = calibration_error_interval(gaps[0], np.concatenate([chunk[name] for _, chunk in chunks]))
    return intervals


def density_figures(scores: Scores, draws: int, seed: int) -> dict[str, Figure]:
    """Gives every figure with its 95 % interval.

    Args:
        scores: Observations.
        draws: Bootstrap resamples of the clusters; 0 leaves the intervals that need them out.
        seed: Seed of the bootstrap.

    Returns:
        Figures by name, see :func:`measure`, rounded to six digits. ``n`` is the number of observations that the
        figure rests on: of a recall those of its class, of a precision those graded so.
    """
    total = len(scores.labels)
    values = {name: float(value[0]) for name, value in measure(scores, np.ones((total, 1))).items()}
    proportions = _proportions(scores)
    bootstrapped = _bootstrap_intervals(scores, set(values) - set(proportions), draws, seed)
    figures = {}
    for name, value in values.items():
        if name in proportions:
            counted, hits = proportions[name]
            count = int(counted.sum())
            interval = clustered_interval(hits[counted], scores.clusters[counted])
            if name == "off_by_two" and interval is not None:
                interval = (interval[0] * count, interval[1] * count)
            figures[name] = make_figure(value, interval, count)
        else:
            figures[name] = make_figure(value, bootstrapped.get(name), total)
    return figures


def compare(candidate: Scores, baseline: Scores, draws: int, seed: int) -> dict[str, Figure]:
    """Compares two models on the same observations.

    Args:
        candidate: Scores of the new model.
        baseline: Scores of the model that is served, of the same observations.
        draws: Bootstrap resamples; both models are drawn together, so that what is common cancels.
        seed: Seed of the bootstrap.

    Returns:
        The change (candidate minus baseline) of each of `COMPARED` by name, and ``dense_flips``: the share of
        observations whose dense or non-dense grade was right in the baseline and is wrong now.

    Raises:
        ValueError: The observations differ.
    """
    if candidate.keys != baseline.keys:
        raise ValueError("Two models can be compared on the same exams only: their keys differ.")
    total = len(candidate.labels)

    def changes(weights: np.ndarray) -> dict[str, np.ndarray]:
        new, old = (density_metrics(_matrices(scores, weights)) for scores in (candidate, baseline))
        return {name: new[name] - old[name] for name in COMPARED}

    chunks = [changes(weights) for weights in bootstrap_weights(candidate.clusters, draws, seed)]
    figures = {}
    for name, value in changes(np.ones((total, 1))).items():
        interval = percentile_interval(np.concatenate([chunk[name] for chunk in chunks])) if chunks else None
        figures[name] = make_figure(float(value[0]), interval, total)
    dense = candidate.labels >= DENSE_FROM
    now, before = (dense == (scores.predicted >= DENSE_FROM) for scores in (candidate, baseline))
    flipped = before & ~now
    share = float(flipped.mean()) if total else float("nan")
    figures[FLIPS] = make_figure(share, clustered_interval(flipped, candidate.clusters), total)
    return figures
