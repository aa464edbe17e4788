"""Metrics of repeated trainings: means over seeds with intervals over patients, spread between seeds, differences.

A metric of an arm is the mean of its seeds' metrics, each over the exams of all folds together. Patients are resampled,
and all arms and seeds are resampled together: so intervals of differences are paired. These intervals cover the choice
of exams. They do not cover the choice of seeds: the spread between seeds stands beside them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.evaluator.predictions import ViewPrediction
from components.statistics.intervals import Figure, bootstrap_weights, make_figure, percentile_interval
from components.statistics.metrics import BY_NAME, Resamples
from components.statistics.scores import Scores
from pipeline.experiments.declarations import Part
from pipeline.experiments.judge import Graded, only_keys, scores_of
from schema.features import DENSITY_CLASSES

NAMES: Final = (
    *("quadratic_kappa", "accuracy", "macro_recall", "dense_auc", "dense_accuracy"),
    *(f"recall_{name}" for name in DENSITY_CLASSES),
)
_EXAMS: Final = Part("exams")


@dataclass(frozen=True)
class ArmFigures:
    """The metrics of an arm.

    Attributes:
        figures: Mean over the seeds, with its interval over patients, by name.
        by_seed: Value of each seed, by name; NaN is undefined.
        seeds: Number of seeds.
    """

    figures: Mapping[str, Figure]
    by_seed: Mapping[str, tuple[float, ...]]
    seeds: int

    def spread(self, name: str) -> float | None:
        """Return the standard deviation between seeds; None with one seed."""
        values = self.by_seed[name]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """Metrics of several arms on the same exams.

    Attributes:
        exams: Number of exams by class, which all arms graded.
        arms: Metrics by arm.
        differences: Arm minus the first arm, by arm and name.
    """

    exams: Mapping[str, int]
    arms: Mapping[str, ArmFigures]
    differences: Mapping[str, Mapping[str, Figure]]


def exam_scores(rows: Sequence[ViewPrediction], minimum_views: int) -> Scores:
    """Return the scores of exams: the mean of their views, not calibrated."""
    return scores_of(Graded(tuple(rows), 1.0, minimum_views), _EXAMS, 0)


def averaged(scores: Sequence[Scores], weights: Sequence[float] | None = None) -> Scores:
    """Average the probabilities of several models, exam by exam.

    Args:
        scores: Scores of the same observations.
        weights: Weight of each model; None weighs them equally.

    Returns:
        Scores of the mean probabilities.

    Raises:
        ValueError: The observations differ.
    """
    first = scores[0]
    if any(other.keys != first.keys for other in scores):
        raise ValueError("Only predictions of the same exams can be averaged: their keys differ.")
    mean = np.average([one.probabilities for one in scores], axis=0, weights=weights)
    return Scores(first.keys, first.labels, mean, None, first.clusters, first.ungraded)


def on_common_exams(arms: Mapping[str, Sequence[Scores]]) -> dict[str, list[Scores]]:
    """Keep the exams that every arm graded with every seed."""
    common = frozenset.intersection(*(frozenset(one.keys) for seeds in arms.values() for one in seeds))
    return {name: [only_keys(one, common) for one in seeds] for name, seeds in arms.items()}


def compare_arms(arms: Mapping[str, Sequence[Scores]], draws: int, seed: int) -> Comparison:
    """Compute the metrics of arms on the exams that all of them graded, and the differences from the first arm.

    Args:
        arms: Scores of each seed, by arm.
        draws: Bootstrap resamples of the patients.
        seed: Seed of the bootstrap.

    Returns:
        The comparison.

    Raises:
        ValueError: There is no exam that all arms graded.
    """
    arms = on_common_exams(arms)
    first = next(iter(arms.values()))[0]
    if not first.keys:
        raise ValueError("No exam was graded by every arm, so they cannot be compared.")

    def by_seed(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Compute every metric of every seed: float64 [metrics, seeds, B] by arm."""
        given = {name: [Resamples(one, weights) for one in seeds] for name, seeds in arms.items()}
        return {
            name: np.array([[BY_NAME[metric].compute(one) for one in seeds] for metric in NAMES])
            for name, seeds in given.items()
        }

    values = {name: found[..., 0] for name, found in by_seed(np.ones((len(first.keys), 1))).items()}
    chunks: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for weights in bootstrap_weights(first.clusters, draws, seed):
        for name, found in by_seed(weights).items():
            chunks[name].append(found.mean(axis=1))
    resampled = {name: np.concatenate(parts, axis=1) for name, parts in chunks.items()}
    count = len(first.keys)

    def figures(value: NDArray[Any], drawn: NDArray[Any]) -> dict[str, Figure]:
        return {
            metric: make_figure(float(value[i]), percentile_interval(drawn[i]), _n(metric, first.labels, count))
            for i, metric in enumerate(NAMES)
        }

    by_arm = {
        name: ArmFigures(
            figures(value.mean(axis=1), resampled[name]),
            {metric: tuple(value[i].tolist()) for i, metric in enumerate(NAMES)},
            value.shape[1],
        )
        for name, value in values.items()
    }
    base = next(iter(arms))
    differences = {
        name: figures(values[name].mean(axis=1) - values[base].mean(axis=1), resampled[name] - resampled[base])
        for name in arms
        if name != base
    }
    exams = {name: int((first.labels == i).sum()) for i, name in enumerate(DENSITY_CLASSES)}
    return Comparison(exams, by_arm, differences)


def _n(metric: str, labels: NDArray[Any], count: int) -> int:
    """Return the number of exams behind a metric: of a recall, the exams of its class."""
    name, _, density = metric.rpartition("_")
    return int((labels == DENSITY_CLASSES.index(density)).sum()) if name == "recall" else count
