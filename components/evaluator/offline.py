"""Evaluate a table of predictions without TFMA, with the same functions, slices and form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluator.predictions import Predictions, ViewPrediction
from components.evaluator.slices import has_meaning, slice_entry
from components.statistics.figures import confusion_matrix, density_figures
from components.statistics.scores import (
    SIDES,
    Level,
    ScoreRow,
    class_index,
    cluster_of,
    make_scores,
    rows_of_side,
    score_rows,
)
from schema import features as f

_Slice = tuple[tuple[str, str], ...]


def _values(row: ViewPrediction, columns: Sequence[str]) -> dict[str, str]:
    return {**{name: row.slices[name] for name in columns}, f.VIEW: row.view, f.DENSITY: row.label}


def _slices_of(predictions: Predictions) -> dict[_Slice, list[ViewPrediction]]:
    """Group the rows by slice: all, each value of a column, view, class, and acquisition system crossed with class."""
    columns = predictions.slice_columns
    singles = [*columns, f.VIEW, f.DENSITY]
    keys = [
        (),
        *((name,) for name in singles),
        *((name, f.DENSITY) for name in columns if name == f.ACQUISITION_SYSTEM),
    ]
    found: dict[_Slice, list[ViewPrediction]] = defaultdict(list)
    for row in predictions.rows:
        values = _values(row, columns)
        for names in keys:
            found[tuple((name, values[name]) for name in names)].append(row)
    return found


def by_exam(rows: Iterable[ViewPrediction]) -> dict[str, list[ViewPrediction]]:
    """Group predictions by exam, in the order in which exams first appear."""
    found: dict[str, list[ViewPrediction]] = defaultdict(list)
    for row in rows:
        found[row.exam_id].append(row)
    return found


def observations(level: Level, exams: Iterable[Sequence[ViewPrediction]]) -> list[ScoreRow]:
    """Return the observations of a level.

    Args:
        level: ``view``, ``breast`` or ``exam``.
        exams: Predictions of each exam.

    Raises:
        ValueError: The labels of an exam differ.
    """
    rows = []
    for images in exams:
        exam = images[0].exam_id
        rows += score_rows(
            level,
            exam,
            cluster_of(images[0].patient_id, exam),
            class_index((image.label for image in images), f"Exam {exam}"),
            [image.view for image in images],
            np.asarray([image.probabilities for image in images]),
        )
    return rows


def evaluate_predictions(
    predictions: Predictions, temperature: float = 1.0, draws: int = 2000, seed: int = 1
) -> dict[str, Any]:
    """Compute metrics and intervals of views, breasts and exams.

    Args:
        predictions: The table. The mean of an exam is over its present views, as in the exam model.
        temperature: Applied to breasts and exams after combination, as the exam model does; 1 changes nothing.
        draws: Bootstrap resamples of the patients, or of the exams if patients are not known.
        seed: Seed of the bootstrap.

    Returns:
        Slices by level, as in ``exam_metrics.json`` of the Evaluator.

    Examples:
        >>> from pathlib import Path
        >>> from components.evaluator.predictions import read_predictions
        >>> rows = ["exam_id,view,label,p_A,p_B,p_C,p_D", "e1,CC_R,B,.1,.8,.1,0", "e2,CC_R,C,0,.7,.2,.1"]
        >>> _ = Path("predictions.csv").write_text(chr(10).join(rows))
        >>> figures = evaluate_predictions(read_predictions(Path("predictions.csv")))
        >>> figures["exam"][0]["metrics"]["accuracy"]["value"]
        0.5
    """

    def entry(chosen: Mapping[str, str], rows: Sequence[ScoreRow], temperature: float) -> dict[str, Any]:
        scores = make_scores(rows, temperature)
        return slice_entry(chosen, confusion_matrix(scores), density_figures(scores, draws, seed), scores.ungraded)

    exams = by_exam(predictions.rows)
    slices = sorted(_slices_of(predictions).items())

    def exams_of(images: Iterable[ViewPrediction]) -> list[list[ViewPrediction]]:
        """Return all views of each exam, as in TFMA's query metrics."""
        return [exams[exam] for exam in dict.fromkeys(image.exam_id for image in images)]

    result: dict[str, Any] = {}
    for level in ("exam", "breast"):
        result[level] = [
            entry(dict(chosen), observations(level, exams_of(images)), temperature)
            for chosen, images in slices
            if has_meaning(level, dict(chosen))
        ]
    breasts = observations("breast", exams.values())
    result["breast"] += [entry({f.LATERALITY: side}, rows_of_side(breasts, side), temperature) for side in SIDES]
    result["view"] = [
        entry(dict(chosen), observations("view", ([image] for image in images)), 1.0) for chosen, images in slices
    ]
    return result
