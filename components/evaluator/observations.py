"""Write the model's prediction of every view while TFMA runs, and read them back as the scores of exams.

TFMA returns metrics only. The paired comparison with another grader and the curve of selective grading need the
probabilities of each exam, and a second run of the networks would cost as much as the first.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.statistics.confusion import CLASSES
from components.statistics.scores import Scores, class_index, cluster_of, make_scores, score_rows
from schema import features as f

_PREFIX: Final = "view"


def _text(values: Any) -> str:
    value = np.asarray(values).ravel()[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _line(extracts: dict[str, Any], model_name: str) -> str:
    inputs = metric_types.StandardMetricInputs(extracts)
    prediction = inputs.get_predictions(model_name, "")
    if isinstance(prediction, dict):  # the other output of the signature is the name of the class
        prediction = prediction["probabilities"]
    features = extracts[tfma.FEATURES_KEY]
    names = [_text(features[name]) for name in (f.EXAM_ID, f.VIEW, f.PATIENT_ID)]
    label = _text(inputs.get_labels(model_name, ""))
    return json.dumps([*names, label, np.asarray(prediction, np.float64).reshape(CLASSES).tolist()])


class WriteObservations(beam.PTransform[Any, Any]):
    """Write one line per view to a folder, and pass the extracts on."""

    def __init__(self, folder: str, model_name: str) -> None:
        """Create the transform.

        Args:
            folder: Folder to write to, on the runner's filesystem.
            model_name: Name of the model in TFMA's extracts; empty if there is only one.
        """
        super().__init__()
        self._folder = folder
        self._model_name = model_name

    def expand(self, extracts: beam.PCollection[Any]) -> beam.PCollection[Any]:
        """Return the extracts as they came."""
        lines = extracts | "ObservationLines" >> beam.Map(_line, self._model_name)
        _ = lines | "WriteObservations" >> beam.io.WriteToText(os.path.join(self._folder, _PREFIX))
        return extracts


def _lines(folder: str) -> Iterator[str]:
    for name in sorted(tf.io.gfile.listdir(folder)) if tf.io.gfile.isdir(folder) else ():
        if name.startswith(_PREFIX):
            with tf.io.gfile.GFile(os.path.join(folder, name)) as file:
                yield from file


def take_exam_scores(folder: str, temperature: float, minimum_views: int) -> Scores:
    """Read the observations as scores of exams, and remove their folder.

    Args:
        folder: Folder of `WriteObservations`.
        temperature: Temperature of the model.
        minimum_views: Exams with fewer views have no grade.

    Returns:
        The scores, equal to those of TFMA's metrics.
    """
    exams: dict[str, list[tuple[str, list[float], str, str]]] = defaultdict(list)
    for line in _lines(folder):
        exam, view, patient, label, probabilities = json.loads(line)
        exams[exam].append((view, probabilities, patient, label))
    rows = []
    for exam, views in exams.items():
        label = class_index((view[3] for view in views), f"Exam {exam}")
        probabilities = np.asarray([view[1] for view in views])
        cluster = cluster_of(min(view[2] for view in views), exam)
        rows += score_rows("exam", exam, cluster, label, [view[0] for view in views], probabilities, minimum_views)
    if tf.io.gfile.isdir(folder):
        tf.io.gfile.rmtree(folder)
    return make_scores(rows, temperature)
