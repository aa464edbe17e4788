"""Metrics of probabilities: AUC, rank of the true class, log-likelihood, calibration error.

They are exact (nothing is binned but the calibration error) and computed for many resamples at once: ``weights`` is
float [N, B], how often each observation counts in each of B resamples. A column of ones gives the metric itself.

The calibration error is a sum of absolute values, so chance makes it larger than 0: a perfectly calibrated model shows
about .15 on 50 exams and .06 on 300 (simulated). A resample adds chance once more, so the plain percentiles of a
bootstrap can lie entirely above the error of the exams that they were drawn from.

Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.statistics.confusion import CLASSES, DENSE_FROM

ECE_BINS: Final = 15  # as Guo et al.
_SMALLEST: Final = 1e-7  # a right class of probability 0 costs 16 nats, not infinity


def weighted_auc(scores: NDArray[Any], positive: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the area under the ROC curve: the share of pairs in the right order; ties count half.

    Args:
        scores: float [N], higher for positives.
        positive: bool [N].
        weights: float [N, B].

    Returns:
        float64 [B]; NaN if positives or negatives are absent.
    """
    order = np.argsort(scores, kind="stable")
    ranked, hits, weights = scores[order], positive[order, None], weights[order]
    negatives = np.where(hits, 0.0, weights)
    positives = np.where(hits, weights, 0.0)
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]][: len(ranked)])
    if len(starts) < len(ranked):
        negatives, positives = (np.add.reduceat(part, starts, axis=0) for part in (negatives, positives))
    pairs = positives.sum(axis=0) * negatives.sum(axis=0)
    below = np.cumsum(negatives, axis=0) - negatives / 2  # half of those with an equal score
    ordered = np.einsum("nb,nb->b", positives, below)
    return np.where(pairs > 0, ordered / np.where(pairs > 0, pairs, 1), np.nan)


def dense_auc(probabilities: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the AUC of dense (C, D) against non-dense (A, B) by p_C + p_D, float64 [B]."""
    return weighted_auc(probabilities[:, DENSE_FROM:].sum(axis=1), labels >= DENSE_FROM, weights)


def macro_auc(probabilities: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the mean one-against-rest AUC of the classes that are present, float64 [B].

    With all four classes this is scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``, which rejects
    data without one of them. NaN if there is only one class.
    """
    areas = np.stack([weighted_auc(probabilities[:, c], labels == c, weights) for c in range(CLASSES)])
    defined = ~np.isnan(areas)
    count = defined.sum(axis=0)
    return np.where(count > 0, np.where(defined, areas, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def ranks_of_truth(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the rank of the true class among the probabilities, 0 = first, int64 [N].

    Of equal probabilities the less dense class comes first, as in the model's grade.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(CLASSES)[None, :] < labels[:, None]
    result: NDArray[Any] = ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)
    return result


def losses(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the negative log-likelihood of each exam, nats.

    Args:
        probabilities: [N, 4].
        labels: int [N], index of the right class.

    Returns:
        float64 [N].
    """
    result: NDArray[Any] = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _SMALLEST))
    return result


def log_losses(probabilities: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the mean negative log-likelihood of the true class, nats, float64 [B]."""
    total = weights.sum(axis=0)
    return np.where(total > 0, losses(probabilities, labels) @ weights / np.where(total > 0, total, 1), np.nan)


def gaps_by_bin(
    probabilities: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any], bins: int = ECE_BINS
) -> NDArray[Any]:
    """Return the signed contribution of each bin of confidence to the error: above 0 if grades are right too often.

    Args:
        probabilities: [N, 4].
        labels: int [N].
        weights: float [N, B], how often each observation counts in each of B resamples.
        bins: Equal bins of the largest probability, 0..1; each contains its upper edge.

    Returns:
        float64 [B, bins]; NaN if nothing counts.
    """
    confidence, right = probabilities.max(axis=1, initial=0.0), probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.zeros((len(labels), bins))
    gaps[np.arange(len(labels)), places] = right - confidence
    total = weights.sum(axis=0)
    means: NDArray[Any] = np.divide(gaps.T @ weights, total, out=np.full((bins, len(total)), np.nan), where=total > 0)
    return means.T


def calibration_errors(gaps: NDArray[Any]) -> NDArray[Any]:
    """Return the expected calibration error, 0..1: the sum of the absolute gaps, [B, bins] to [B]."""
    result: NDArray[Any] = np.abs(gaps).sum(axis=-1)
    return result


def expected_calibration_error(probabilities: NDArray[Any], labels: NDArray[Any], bins: int = ECE_BINS) -> float:
    """Return the error of observations that count once each, [N, 4] and int [N]; NaN without observations."""
    return float(calibration_errors(gaps_by_bin(probabilities, labels, np.ones((len(labels), 1)), bins))[0])


def calibration_error_interval(gaps: NDArray[Any], resampled: NDArray[Any]) -> tuple[float, float] | None:
    """Return a 95 % interval for the error that many more observations would show; it contains the measured error.

    The lower limit is that of the basic bootstrap, which removes the bias. It is 0 if chance explains the error: if the
    resampled gaps about the measured gaps give such an error in 2.5 of 100 resamples. (A bootstrap of the error itself
    does not know that the error cannot be below 0.) The upper limit is the percentile minus the bias of the bootstrap.

    In simulations of calibrated, under-confident and over-confident models, the interval contained the true error in 90
    to 98 of 100 cases with 30 exams of a calibrated model or 100 exams of any model, and in at least 87 with 30 exams
    of the other models. Plain percentiles did so in 0 of 100 cases for calibrated models.

    Source: Davison, Hinkley, Bootstrap Methods and their Application, 1997, section 5.2 (basic bootstrap);
    Vaicenavicius et al., Evaluating Model Calibration in Classification, AISTATS 2019, arXiv 1902.06977, section 4
    (errors under perfect calibration); Andrews, Econometrica 68(2):399, 2000 (the bootstrap fails at the boundary of
    the parameter space).

    Args:
        gaps: float64 [bins], of the observations.
        resampled: float64 [B, bins], of their resamples.

    Returns:
        The interval, within 0..1; None without resamples, or if all of them agree, which is not evidence.
    """
    errors = calibration_errors(resampled)
    if not errors.size or errors.min() == errors.max():
        return None
    error = float(calibration_errors(gaps))
    by_chance = np.percentile(calibration_errors(resampled - gaps), 97.5)
    high = np.percentile(errors, 97.5)
    lower = 0.0 if error <= by_chance else min(max(2 * error - high, 0.0), error)
    return float(lower), float(min(max(high - (errors.mean() - error), error), 1.0))
