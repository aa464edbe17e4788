"""All metrics of a set of observations with their 95 % intervals, and the paired comparison of two models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.statistics.confusion import CLASSES, DENSE_FROM
from components.statistics.intervals import (
    Figure,
    bootstrap_weights,
    clustered_interval,
    make_figure,
    paired_interval,
    percentile_interval,
)
from components.statistics.metrics import BY_NAME, CLASS_RECALLS, COMPARED, FLIPS, METRICS, Metric, Resamples
from components.statistics.probabilities import calibration_error_interval
from components.statistics.scores import Scores


def confusion_matrix(scores: Scores) -> NDArray[Any]:
    """Count true (rows) and predicted classes, int64 [4, 4]."""
    cells = np.bincount(scores.labels * CLASSES + scores.predicted, minlength=CLASSES**2)
    return cells.reshape(CLASSES, CLASSES)


def _metrics_of(scores: Scores) -> list[Metric]:
    return [metric for metric in METRICS if scores.raw is not None or not metric.needs_temperature]


def _input_of(metric: Metric, resamples: Resamples) -> Resamples:
    return resamples.uncalibrated if metric.needs_temperature else resamples


def _once(scores: Scores) -> Resamples:
    return Resamples(scores, np.ones((len(scores.labels), 1)))


def measure(scores: Scores, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Compute every metric of the catalogue for many resamples.

    Args:
        scores: N observations.
        weights: float [N, B].

    Returns:
        float64 [B] by name (NaN = undefined), see :data:`components.statistics.metrics.METRICS`. The metrics before the
        temperature are absent if no temperature was applied.
    """
    resamples = Resamples(scores, weights)
    return {metric.name: metric.compute(_input_of(metric, resamples)) for metric in _metrics_of(scores)}


def _bootstrap_intervals(
    scores: Scores, metrics: list[Metric], draws: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    chunks: dict[str, list[NDArray[Any]]] = {metric.name: [] for metric in metrics}
    for weights in bootstrap_weights(scores.clusters, draws, seed):
        resamples = Resamples(scores, weights)
        for metric in metrics:
            given = _input_of(metric, resamples)
            chunks[metric.name].append(given.gaps if metric.is_calibration_error else metric.compute(given))
    intervals: dict[str, tuple[float, float] | None] = {}
    for metric in metrics:
        if not chunks[metric.name]:
            continue
        resampled = np.concatenate(chunks[metric.name])
        if metric.is_calibration_error:
            gaps = _input_of(metric, _once(scores)).gaps[0]
            intervals[metric.name] = calibration_error_interval(gaps, resampled)
        else:
            intervals[metric.name] = percentile_interval(resampled)
    return intervals


def _proportion_interval(metric: Metric, scores: Scores, hits: NDArray[Any]) -> tuple[float, float] | None:
    counted = metric.counted[scores.labels, scores.predicted]
    interval = clustered_interval(hits[counted], scores.clusters[counted])
    if interval is None or metric.words.unit != "count":
        return interval
    count = int(counted.sum())
    return interval[0] * count, interval[1] * count


def density_figures(scores: Scores, draws: int, seed: int, names: Collection[str] | None = None) -> dict[str, Figure]:
    """Return metrics with their 95 % intervals.

    Args:
        scores: Observations.
        draws: Bootstrap resamples of the clusters; 0 omits the intervals that need them.
        seed: Seed of the bootstrap.
        names: Wanted metrics; None for all.

    Returns:
        Figures by name, see :func:`measure`, rounded to six digits. ``n`` is the number of observations behind the
        metric: of a recall the observations of its class, of a precision the observations graded so.
    """
    once, matrix = _once(scores), confusion_matrix(scores)
    metrics = [metric for metric in _metrics_of(scores) if names is None or metric.name in names]
    intervals = _bootstrap_intervals(scores, [metric for metric in metrics if metric.hits is None], draws, seed)
    for metric in metrics:
        if metric.hits is not None:
            intervals[metric.name] = _proportion_interval(metric, scores, metric.hits(scores))
    return {
        metric.name: make_figure(
            float(metric.compute(_input_of(metric, once))[0]), intervals.get(metric.name), metric.count(matrix)
        )
        for metric in metrics
    }


def compare(candidate: Scores, baseline: Scores, draws: int, seed: int) -> dict[str, Figure]:
    """Compare two models on the same observations.

    Args:
        candidate: Scores of the new model.
        baseline: Scores of the served model, of the same observations.
        draws: Bootstrap resamples. Both models are resampled together, so that the common part cancels out.
        seed: Seed of the bootstrap.

    Returns:
        The change (candidate minus baseline) of each metric in `COMPARED` and of the recall of each class by name, and
        ``dense_flips``: the share of observations whose dense or non-dense grade was right with the baseline and is
        wrong now. The interval of a recall is within the observations of its class.

    Raises:
        ValueError: The observations differ.
    """
    if candidate.keys != baseline.keys:
        raise ValueError("Two models can be compared on the same exams only: their keys differ.")
    total = len(candidate.labels)

    def changes(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        new, old = (Resamples(scores, weights) for scores in (candidate, baseline))
        return {name: BY_NAME[name].compute(new) - BY_NAME[name].compute(old) for name in COMPARED}

    chunks = [changes(weights) for weights in bootstrap_weights(candidate.clusters, draws, seed)]
    figures = {}
    for name, value in changes(np.ones((total, 1))).items():
        interval = percentile_interval(np.concatenate([chunk[name] for chunk in chunks])) if chunks else None
        figures[name] = make_figure(float(value[0]), interval, total)
    right, was_right = (scores.predicted == scores.labels for scores in (candidate, baseline))
    for index, name in enumerate(CLASS_RECALLS):
        of_class = candidate.labels == index
        now, before = right[of_class], was_right[of_class]
        change = float(now.mean() - before.mean()) if len(now) else float("nan")
        figures[name] = make_figure(change, paired_interval(now, before, candidate.clusters[of_class]), len(now))
    dense = candidate.labels >= DENSE_FROM
    now, before = (dense == (scores.predicted >= DENSE_FROM) for scores in (candidate, baseline))
    flipped = before & ~now
    share = float(flipped.mean()) if total else float("nan")
    figures[FLIPS] = make_figure(share, clustered_interval(flipped, candidate.clusters), total)
    return figures
