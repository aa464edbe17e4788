"""Grades the exams of a split with the exam model, as they are before calibration."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np
import tensorflow as tf

from components.common.views import View, read_views
from components.exam_model.signatures import ExamModel
from components.statistics.combination import CombinedExams, combine_views
from schema.features import DENSITY_CLASSES

_BATCH: Final = 8  # views in memory; at the published size a view's activations take some 100 MB


def _batches(views: Iterator[View]) -> Iterator[list[View]]:
    while batch := list(islice(views, _BATCH)):
        yield batch


def grade_split(model: ExamModel, folder: str) -> tuple[CombinedExams, np.ndarray]:
    """Grades a split.

    Args:
        model: Exam model; its temperature is not applied.
        folder: Split folder of preprocessed examples.

    Returns:
        The exams in the order of the shards with their raw probabilities, and their classes, int64 [E].
    """
    strings = tf.TensorSpec([None], tf.string)
    predict = tf.function(model.predict_view, input_signature=[strings, strings], autograph=False)
    exam_ids: list[str] = []
    views: list[str] = []
    probabilities: list[np.ndarray] = []
    density: dict[str, str] = {}
    for batch in _batches(read_views(folder)):
        answer = predict(tf.constant([view.image for view in batch]), tf.constant([view.view for view in batch]))
        probabilities.append(answer["probabilities"].numpy())
        exam_ids += [view.exam_id for view in batch]
        views += [view.view for view in batch]
        density |= {view.exam_id: view.density for view in batch}
    rows = np.concatenate(probabilities) if probabilities else np.zeros((0, len(DENSITY_CLASSES)))
    exams = combine_views(exam_ids, views, rows)
    return exams, np.array([DENSITY_CLASSES.index(density[exam]) for exam in exams.exam_ids], np.int64)
