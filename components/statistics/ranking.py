"""Figures that need probabilities: AUC, ranks, likelihood; exact, and for many weightings at once.

``weights`` is float [N, B]: how often each observation counts in each of B resamples. A column of ones gives the figure
itself. Nothing is binned.
"""

from __future__ import annotations

import numpy as np

from components.statistics.calibration import losses
from components.statistics.confusion import CLASSES, DENSE_FROM


def weighted_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gives the area under the ROC curve, the share of pairs in the right order; ties count half.

    Args:
        scores: float [N], higher for positives.
        positive: bool [N].
        weights: float [N, B].

    Returns:
        float64 [B]; NaN where positives or negatives are absent.
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


def dense_auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gives the AUC of dense (C, D) against non-dense (A, B) by p_C + p_D, float64 [B]."""
    return weighted_auc(probabilities[:, DENSE_FROM:].sum(axis=1), labels >= DENSE_FROM, weights)


def macro_auc(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Averages the one-against-rest AUC over the classes that are there, float64 [B].

    With all four classes this is scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``, which refuses
    data that lack one. NaN where one class is alone.
    """
    areas = np.stack([weighted_auc(probabilities[:, c], labels == c, weights) for c in range(CLASSES)])
    there = ~np.isnan(areas)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, areas, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def ranks_of_truth(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Gives the place of the true class among the probabilities, 0 = first, int64 [N].

    Of equal probabilities the less dense class comes first, as it does in the model's grade.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(CLASSES)[None, :] < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)


def log_losses(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gives the mean negative log-likelihood of the true class, nats, float64 [B]."""
    total = weights.sum(axis=0)
    return np.where(total > 0, losses(probabilities, labels) @ weights / np.where(total > 0, total, 1), np.nan)
