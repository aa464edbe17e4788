"""The exam model's grades of single images, as a table that ``breast-density evaluate`` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import tensorflow as tf

from components.common.files import write_whole
from components.common.views import View, read_views
from components.evaluator.predictions import ViewPrediction
from schema import features as f

_BATCH: Final = 8  # images in memory; at the published size an image's activations take some 100 MB
_HEADER: Final = ("exam_id", "patient_id", "view", "label", *(f"p_{name}" for name in f.DENSITY_CLASSES))


def _batches(views: Iterator[View]) -> Iterator[list[View]]:
    while batch := list(islice(views, _BATCH)):
        yield batch


def predict_split(model: str, folder: str) -> list[ViewPrediction]:
    """Grades every image of a split with the model as it would be served.

    Args:
        model: SavedModel of the exam model.
        folder: Split folder of preprocessed examples.

    Returns:
        The grades, sorted by exam and view.
    """
    predict = tf.saved_model.load(model).signatures["predict_view"]
    rows = []
    for batch in _batches(read_views(folder)):
        answer = predict(
            image_bytes=tf.constant([view.image for view in batch]), view=tf.constant([view.view for view in batch])
        )
        rows += [
            ViewPrediction(
                exam_id=view.exam_id,
                patient_id=view.patient_id,
                view=view.view,
                label=view.density,
                probabilities=tuple(row),
                slices={f.ACQUISITION_SYSTEM: view.acquisition_system},
            )
            for view, row in zip(batch, answer["probabilities"].numpy().tolist(), strict=True)
        ]
    return sorted(rows, key=lambda row: (row.exam_id, f.VIEWS.index(row.view)))


def write_predictions(path: Path, rows: Iterable[ViewPrediction]) -> None:
    """Writes grades as CSV, the file whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEADER, f.ACQUISITION_SYSTEM])
    for row in rows:
        values = [f"{value:.8f}" for value in row.probabilities]
        names = (row.exam_id, row.patient_id, row.view, row.label)
        writer.writerow([*names, *values, row.slices[f.ACQUISITION_SYSTEM]])
    write_whole(path, text.getvalue().encode())
