"""Density metrics for TFMA, of single views and of exams.

With ``query_key`` the combiner gets one element an exam, whose prediction has a row a view: their mean is the exam's
score. Without it, each element is one view. TFMA has neither kappa nor argmax-based macro averages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.confusion import density_metrics
from schema.features import DENSITY_CLASSES

_CLASSES = len(DENSITY_CLASSES)


def cell_name(level: str, true_index: int, predicted_index: int) -> str:
    """Names a cell of the confusion matrix, such as ``exam_true_A_predicted_B``."""
    return f"{level}_true_{DENSITY_CLASSES[true_index]}_predicted_{DENSITY_CLASSES[predicted_index]}"


def graded_pair(label: Any, prediction: Any) -> tuple[int, int]:
    """Gives the true and the predicted class of an exam or a view.

    Args:
        label: Class letters, one a view (``str`` or ``bytes``, any shape).
        prediction: Probabilities, [..., 4], one row a view; their mean decides.

    Returns:
        Indices in DENSITY_CLASSES.

    Raises:
        ValueError: The views of an exam have different labels, or the label is no density class.
    """
    letters = {v.decode() if isinstance(v, bytes) else str(v) for v in np.asarray(label).ravel()}
    if len(letters) != 1 or not letters <= set(DENSITY_CLASSES):
        raise ValueError(
            f"An exam needs one density label of {', '.join(DENSITY_CLASSES)}. Received: {sorted(letters)}"
        )
    mean = np.asarray(prediction, np.float64).reshape(-1, _CLASSES).mean(axis=0)
    return DENSITY_CLASSES.index(letters.pop()), int(mean.argmax())


class _ConfusionCombiner(beam.CombineFn):
    """Counts graded pairs and gives cells and figures."""

    def __init__(self, level: str, model_name: str, output_name: str):
        self._level = level
        self._model_name = model_name
        self._output_name = output_name

    def create_accumulator(self) -> np.ndarray:
        return np.zeros((_CLASSES, _CLASSES), np.int64)

    def add_input(self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs) -> np.ndarray:
        prediction = element.get_predictions(self._model_name, self._output_name)
        if isinstance(prediction, Mapping):  # the signature's other output is the density's name
            prediction = prediction["probabilities"]
        label = element.get_labels(self._model_name, self._output_name)
        accumulator[graded_pair(label, prediction)] += 1
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, float]:
        figures = {f"{self._level}_{name}": float(value) for name, value in density_metrics(accumulator).items()}
        for i in range(_CLASSES):
            figures |= {cell_name(self._level, i, j): float(accumulator[i, j]) for j in range(_CLASSES)}
        return {metric_key(name, self._model_name, self._output_name): value for name, value in figures.items()}


def metric_key(name: str, model_name: str = "", output_name: str = "") -> metric_types.MetricKey:
    """Makes a metric's key; ``example_weighted`` must be None, or thresholds never match."""
    return metric_types.MetricKey(name, model_name=model_name, output_name=output_name, example_weighted=None)


def _computations(
    level: str = "",
    name: str = "",
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: list[str] | None = None,
    output_names: list[str] | None = None,
    **unused: Any,
) -> metric_types.MetricComputations:
    del name, eval_config, unused
    empty = np.zeros((_CLASSES, _CLASSES))
    names = [f"{level}_{figure}" for figure in density_metrics(empty)]
    names += [cell_name(level, i, j) for i in range(_CLASSES) for j in range(_CLASSES)]
    return [
        metric_types.MetricComputation(
            keys=[metric_key(each, model_name, output_name) for each in names],
            preprocessors=None,
            combiner=_ConfusionCombiner(level, model_name, output_name),
        )
        for model_name in model_names or [""]
        for output_name in output_names or [""]
    ]


class DensityMetrics(metric_types.Metric):
    """The TFMA metric: confusion cells and figures, each name led by the level."""

    def __init__(self, level: str = "view", name: str = "density_metrics"):
        """Makes the metric.

        Args:
            level: ``view``, or ``exam`` together with ``query_key``.
            name: Name in TFMA's configuration.
        """
        super().__init__(_computations, name=name, level=level)


metric_types.register_metric(DensityMetrics)
