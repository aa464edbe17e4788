"""The catalogue's metrics as TFMA metrics: views, breasts and exams, with intervals, for one model or two.

A private computation collects the observations of a slice; derived computations compute the metrics. Exactness costs
memory: AUC and bootstrap need every observation, about 0.5 KB each in each of its slices (nine). A test split of 2,000
exams takes about 130 MB over all slices, levels and two models; millions of exams would need TFMA's binned metrics.

TFMA has no kappa, and its macro averages use a threshold of .5 instead of the largest probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.statistics.confusion import CLASSES
from components.statistics.figures import compare, confusion_matrix, density_figures
from components.statistics.intervals import Figure
from components.statistics.scores import (
    SIDES,
    Level,
    ScoreRow,
    Scores,
    class_index,
    cluster_of,
    make_scores,
    rows_of_side,
    score_rows,
)
from schema import features as f

CANDIDATE: Final = "candidate"
BASELINE: Final = "baseline"
OBSERVATIONS: Final = "observations"  # setting of the metric that it does not use, see `eval_config`
_FEATURES: Final = (f.EXAM_ID, f.PATIENT_ID, f.VIEW)


def cell_name(level: str, true_index: int, predicted_index: int) -> str:
    """Return the name of a cell of the confusion matrix, such as ``exam_true_A_predicted_B``."""
    return f"{level}_true_{f.DENSITY_CLASSES[true_index]}_predicted_{f.DENSITY_CLASSES[predicted_index]}"


def change_name(level: str, name: str) -> str:
    """Return the name of a metric's change against the baseline, such as ``exam_accuracy_change``."""
    return f"{level}_{name}_change"


def side_prefix(side: str) -> str:
    """Return the prefix of the metrics of one side's breasts, such as ``side_R``; it has no level in front."""
    return f"side_{side}"


def metric_key(name: str, model_name: str = "") -> metric_types.MetricKey:
    """Return the key of a metric."""
    return metric_types.MetricKey(name, model_name=model_name, output_name="", example_weighted=None)


def _texts(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in np.asarray(values).ravel()]


class _ScoreCombiner(beam.CombineFn):
    """Collects the observations of a slice."""

    def __init__(self, level: Level, model_name: str, minimum_views: int):
        self._level = level
        self._model_name = model_name
        self._minimum_views = minimum_views

    def create_accumulator(self) -> list[ScoreRow]:
        return []

    def add_input(self, accumulator: list[ScoreRow], element: metric_types.StandardMetricInputs) -> list[ScoreRow]:
        prediction = element.get_predictions(self._model_name, "")
        if isinstance(prediction, Mapping):  # the other output of the signature is the name of the class
            prediction = prediction["probabilities"]
        features = element[tfma.FEATURES_KEY]
        exam = _texts(features[f.EXAM_ID])[0]
        accumulator += score_rows(
            self._level,
            exam,
            cluster_of(_texts(features[f.PATIENT_ID])[0], exam),
            class_index(_texts(element.get_labels(self._model_name, "")), f"Exam {exam}"),
            _texts(features[f.VIEW]),
            np.asarray(prediction, np.float64).reshape(-1, CLASSES),
            self._minimum_views,
        )
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[ScoreRow]]) -> list[ScoreRow]:
        return [row for rows in accumulators for row in rows]

    def extract_output(self, accumulator: list[ScoreRow]) -> dict[metric_types.MetricKey, list[ScoreRow]]:
        return {_rows_key(self._level, self._model_name): accumulator}


def _rows_key(level: Level, model_name: str) -> metric_types.MetricKey:
    return metric_key(f"_{level}_scores", model_name)  # TFMA drops what begins with an underscore


def _tfma_value(figure: Figure) -> metrics_for_slice_pb2.BoundedValue:
    """Return a figure in TFMA's format with intervals; NaN is undefined.

    The format is always the same: TFMA subtracts the baseline's plain numbers from the candidate's, and fails if one
    has bounds.
    """
    value = math.nan if figure.value is None else figure.value
    low, high = figure.ci95 or (math.nan, math.nan)
    return metrics_for_slice_pb2.BoundedValue(
        lower_bound=wrappers_pb2.DoubleValue(value=low),
        upper_bound=wrappers_pb2.DoubleValue(value=high),
        value=wrappers_pb2.DoubleValue(value=value),
    )


def _computations(
    level: Level = "view",
    temperatures: Mapping[str, float] | None = None,
    minimum_views: int = 1,
    draws: int = 1000,
    seed: int = 1,
    name: str = "",
    model_names: list[str] | None = None,
) -> metric_types.MetricComputations:
    del name  # TFMA passes the name in its configuration
    names = model_names or [""]
    known = {CANDIDATE: 1.0, BASELINE: 1.0, **(temperatures or {})} if level != "view" else {}

    def scores_of(metrics: dict[metric_types.MetricKey, Any], model: str, side: str = "") -> Scores:
        rows = metrics[_rows_key(level, model)]
        return make_scores(rows_of_side(rows, side) if side else rows, known.get(model or CANDIDATE, 1.0))

    def named_figures(scores: Scores, prefix: str, draws: int) -> dict[str, Any]:
        figures = density_figures(scores, draws, seed)
        named: dict[str, Any] = {f"{prefix}_{name}": _tfma_value(figure) for name, figure in figures.items()}
        matrix = confusion_matrix(scores)
        named |= {cell_name(prefix, i, j): float(matrix[i, j]) for i, j in np.ndindex(*matrix.shape)}
        return {**named, f"{prefix}_ungraded": float(scores.ungraded)}

    def figures_of(model: str) -> metric_types.DerivedMetricComputation:
        def result(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, Any]:
            resamples = 0 if model == BASELINE else draws
            named = named_figures(scores_of(metrics, model), level, resamples)
            for side in SIDES if level == "breast" else ():
                named |= named_figures(scores_of(metrics, model, side), side_prefix(side), resamples)
            return {metric_key(name, model): value for name, value in named.items()}

        return metric_types.DerivedMetricComputation(keys=[metric_key(f"{level}_figures", model)], result=result)

    def comparison(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, Any]:
        figures = compare(scores_of(metrics, CANDIDATE), scores_of(metrics, BASELINE), draws, seed)
        return {metric_key(change_name(level, n), CANDIDATE): _tfma_value(figure) for n, figure in figures.items()}

    collected = [
        metric_types.MetricComputation(
            keys=[_rows_key(level, model)],
            preprocessors=[metric_types.FeaturePreprocessor(_FEATURES)],
            combiner=_ScoreCombiner(level, model, minimum_views),
        )
        for model in names
    ]
    derived = [figures_of(model) for model in names]
    if level == "exam" and BASELINE in names:
        derived.append(
            metric_types.DerivedMetricComputation(keys=[metric_key("exam_changes", CANDIDATE)], result=comparison)
        )
    return [*collected, *derived]


class DensityMetrics(metric_types.Metric):
    """The TFMA metric: cells of the confusion matrix, and metrics with intervals; each name starts with the level."""

    def __init__(self, level: str = "view", name: str = "density_metrics", **settings: Any):
        """Create the metric.

        Args:
            level: ``view``, or ``breast`` or ``exam`` together with ``query_key``.
            name: Name in TFMA's configuration.
            settings: ``temperatures`` by model name, ``minimum_views``, ``draws`` and ``seed`` of the bootstrap.
        """
        settings.pop(OBSERVATIONS, None)
        super().__init__(_computations, name=name, level=cast(Level, level), **settings)


metric_types.register_metric(DensityMetrics)
