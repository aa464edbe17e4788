"""The catalogue of metrics: name, words, unit, formula and interval of each, and which table shows which.

A new metric is one entry of `METRICS`. Evaluator, `breast-density evaluate` and the report's table of all metrics show
it then. A table with few metrics shows it if its name is in that table's tuple at the end of this module.

Proportions have Wilson's interval, which is right near 0 and 1. Calibration errors have a bootstrap without its bias,
other metrics a percentile bootstrap. All intervals respect clusters: exams of one patient, breasts and images of one
exam.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from components.statistics.confusion import CLASSES, DENSE_FROM, STEPS, macro_precision, macro_recall, weighted_kappa
from components.statistics.probabilities import (
    calibration_errors,
    dense_auc,
    gaps_by_bin,
    log_losses,
    macro_auc,
    ranks_of_truth,
)
from components.statistics.scores import Scores
from schema.features import DENSITY_CLASSES

Unit = Literal["share", "number", "count"]
_ALL: Final = np.ones((CLASSES, CLASSES), bool)
_RIGHT: Final = np.eye(CLASSES, dtype=bool)
_DENSE: Final = np.arange(CLASSES) >= DENSE_FROM


@dataclass(frozen=True, eq=False)
class Resamples:
    """N observations, and how often each counts in each of B resamples.

    Attributes:
        scores: The observations.
        weights: float64 [N, B]; a column of ones gives the metric itself.
    """

    scores: Scores
    weights: NDArray[Any]

    @cached_property
    def matrices(self) -> NDArray[Any]:
        """Confusion matrices, rows are the true class; float64 [B, 4, 4]."""
        cells = np.zeros((len(self.scores.labels), CLASSES**2))
        cells[np.arange(len(cells)), self.scores.labels * CLASSES + self.scores.predicted] = 1.0
        result: NDArray[Any] = (cells.T @ self.weights).T.reshape(-1, CLASSES, CLASSES)
        return result

    @cached_property
    def gaps(self) -> NDArray[Any]:
        """Signed contributions of the bins to the calibration error, float64 [B, bins]."""
        return gaps_by_bin(self.scores.probabilities, self.scores.labels, self.weights)

    @cached_property
    def uncalibrated(self) -> Resamples:
        """The same observations before the temperature."""
        raw = self.scores.probabilities if self.scores.raw is None else self.scores.raw
        return Resamples(replace(self.scores, probabilities=raw, raw=None), self.weights)

    def of_probabilities(
        self, function: Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
    ) -> NDArray[Any]:
        """Apply a function of probabilities [N, 4], labels [N] and weights [N, B]; float64 [B]."""
        return function(self.scores.probabilities, self.scores.labels, self.weights)


@dataclass(frozen=True)
class Words:
    """How a metric is called and written.

    Attributes:
        label: Name in tables.
        unit: ``share`` is written in per cent, ``number`` with three digits, ``count`` as a whole number.
        short: Name in the summary of a run; the label in lower case if empty.
    """

    label: str
    unit: Unit = "number"
    short: str = ""


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric.

    Attributes:
        name: Name in JSON files and configurations.
        words: How it is called and written.
        compute: The metric of each resample, float64 [B]; NaN is undefined.
        hits: Of a proportion: which observations are hits, bool [N]. It has Wilson's interval.
        counted: Cells of the confusion matrix whose observations count, bool [4, 4].
        is_calibration_error: The interval is :func:`components.statistics.probabilities.calibration_error_interval`.
        needs_temperature: The metric is absent if no temperature was applied.
    """

    name: str
    words: Words
    compute: Callable[[Resamples], NDArray[Any]]
    hits: Callable[[Scores], NDArray[Any]] | None = None
    counted: NDArray[Any] = field(default_factory=lambda: _ALL)  # Python 3.11 takes no array as a default
    is_calibration_error: bool = False
    needs_temperature: bool = False

    def count(self, matrix: NDArray[Any]) -> int:
        """Return the number of observations behind the metric.

        Args:
            matrix: Counts, int [4, 4].
        """
        return int(matrix[self.counted].sum())


def _proportion(
    name: str, words: Words, hits: Callable[[Scores], NDArray[Any]], counted: NDArray[Any] = _ALL
) -> Metric:
    def compute(resamples: Resamples) -> NDArray[Any]:
        scores = resamples.scores
        counts = counted[scores.labels, scores.predicted]
        total = counts.astype(np.float64) @ resamples.weights
        found = (hits(scores) & counts).astype(np.float64) @ resamples.weights
        share = found if words.unit == "count" else found / np.maximum(total, 1)
        return np.where(total > 0, share, np.nan)

    return Metric(name, words, compute, hits, counted)


def _by_class(kind: str, label: str, axis: int) -> tuple[Metric, ...]:
    places = np.indices((CLASSES, CLASSES))[axis]
    return tuple(
        _proportion(
            f"{kind}_{name}", Words(f"{label} of class {name}", "share", f"{kind} {name}"), _right, places == index
        )
        for index, name in enumerate(DENSITY_CLASSES)
    )


def _right(scores: Scores) -> NDArray[Any]:
    result: NDArray[Any] = _RIGHT[scores.labels, scores.predicted]
    return result


def _among_first(k: int) -> Callable[[Scores], NDArray[Any]]:
    return lambda scores: ranks_of_truth(scores.probabilities, scores.labels) < k


METRICS: Final = (
    _proportion("accuracy", Words("Accuracy, four classes", "share", "accuracy"), _right),
    Metric(
        "macro_recall", Words("Recall, mean of classes", "share", "macro recall"), lambda r: macro_recall(r.matrices)
    ),
    Metric(
        "macro_precision",
        Words("Precision, mean of classes", "share", "macro precision"),
        lambda r: macro_precision(r.matrices),
    ),
    Metric("quadratic_kappa", Words("Quadratic weighted kappa"), lambda r: weighted_kappa(r.matrices, 2)),
    Metric("linear_kappa", Words("Linear weighted kappa"), lambda r: weighted_kappa(r.matrices, 1)),
    _proportion(
        "dense_accuracy",
        Words("Accuracy, dense (C–D) or not", "share", "dense / non-dense accuracy"),
        lambda s: _DENSE[s.labels] == _DENSE[s.predicted],
    ),
    Metric("dense_auc", Words("AUC, dense (C–D) or not"), lambda r: r.of_probabilities(dense_auc)),
    Metric("macro_auc", Words("AUC, mean of classes"), lambda r: r.of_probabilities(macro_auc)),
    _proportion("top_2_accuracy", Words("Truth among the first two", "share"), _among_first(2)),
    _proportion("top_3_accuracy", Words("Truth among the first three", "share"), _among_first(3)),
    Metric("ece", Words("Calibration error (ECE)"), lambda r: calibration_errors(r.gaps), is_calibration_error=True),
    Metric("nll", Words("Negative log-likelihood, nats"), lambda r: r.of_probabilities(log_losses)),
    Metric(
        "uncalibrated_ece",
        Words("Calibration error before temperature"),
        lambda r: calibration_errors(r.gaps),
        is_calibration_error=True,
        needs_temperature=True,
    ),
    Metric(
        "uncalibrated_nll",
        Words("Log-likelihood before temperature"),
        lambda r: r.of_probabilities(log_losses),
        needs_temperature=True,
    ),
    _proportion(
        "off_by_two",
        Words("Grades two or three classes off", "count"),
        lambda s: STEPS[s.labels, s.predicted] >= 2,
    ),
    *_by_class("recall", "Recall", axis=0),
    *_by_class("precision", "Precision", axis=1),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}

# The comparison of two models: the change of each of these, and the share of dense or non-dense grades lost.
ComparedMetric = Literal["accuracy", "macro_recall", "quadratic_kappa", "dense_accuracy"]
COMPARED: Final[tuple[ComparedMetric, ...]] = get_args(ComparedMetric)
FLIPS: Final = "dense_flips"
CLASS_RECALLS: Final = tuple(f"recall_{density}" for density in DENSITY_CLASSES)  # compared too, within each class

# What is written like a metric and computed elsewhere: families of metrics, and the scores of heat maps.
_OTHERS: Final = {
    "recall": Words("Recall", "share"),
    "precision": Words("Precision", "share"),
    FLIPS: Words("Dense or non-dense grades lost", "share"),
    "energy_in_breast": Words("Share of heat inside the breast", "share"),
    "energy_in_pectoral": Words("Share of heat on the pectoral muscle", "share"),
    "energy_in_labels": Words("Share of heat where labels were", "share"),
    "area_in_breast": Words("area in breast", "share"),
    "area_in_pectoral": Words("area in pectoral", "share"),
    "spearman": Words("Rank correlation of heat and grey level"),
    "exact_agreement": Words("Exact agreement", "share"),
    "kappa": Words("Cohen's kappa"),
    "likeness": Words("Rank correlation with the true map"),
}

# Which table shows which metrics, in this order.
HEADLINE: Final = ("accuracy", "quadratic_kappa", "macro_recall", "dense_accuracy")  # head of the report
CHARTED: Final = ("accuracy", "quadratic_kappa")  # by slice, in the report
BY_SLICE: Final = ("accuracy", "macro_recall", "quadratic_kappa", "dense_accuracy")  # report and `evaluate`
BY_VIEW: Final = ("accuracy", "macro_recall", "macro_precision", "quadratic_kappa", "dense_accuracy", "dense_auc")
CALIBRATION: Final[tuple[str, ...]] = ("ece", "nll")  # before and after the temperature
IN_CONTRACT: Final = (
    "accuracy",
    "macro_recall",
    *CLASS_RECALLS,
    *("linear_kappa", "quadratic_kappa", "dense_accuracy", "macro_auc", "ece", "nll"),
)
IN_RUN_SUMMARY: Final = (
    *("accuracy", "macro_recall", "macro_precision", "quadratic_kappa", "dense_accuracy"),
    *CLASS_RECALLS,
)
IN_EXPERIMENT_CHART: Final = ("accuracy", "macro_recall", "quadratic_kappa")


def words_of(name: str) -> Words:
    """Return how a metric is called and written; a name that is not known is a number of that name."""
    if name in BY_NAME:
        return BY_NAME[name].words
    return _OTHERS.get(name, Words(name.replace("_", " ")))


def short_name(name: str) -> str:
    """Return the name of a metric in the summary of a run."""
    words = words_of(name)
    label = words.label
    return words.short or (label if label[:2].isupper() else label[0].lower() + label[1:])
