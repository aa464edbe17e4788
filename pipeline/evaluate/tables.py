"""Metrics of a table of view probabilities, or of graded exams with labels, with intervals, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from components.evaluator.offline import evaluate_predictions
from components.evaluator.predictions import Predictions, read_predictions
from components.evaluator.slices import slice_entry
from components.report_generator.text import interval_text, metric_label, value_text
from components.statistics.figures import confusion_matrix, density_figures
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import BY_SLICE, METRICS
from components.statistics.scores import Scores, cluster_of
from pipeline.evaluate.grades import GRADED, Joined, LabelledGrade
from schema.features import ACQUISITION_SYSTEM, DENSITY_CLASSES, VIEWS

_LEVELS: Final = ("exam", "breast", "view")


def evaluate_file(path: Path, temperature: float, draws: int, seed: int) -> tuple[Predictions, dict[str, Any]]:
    """Read a table, and compute its metrics.

    Returns:
        The table, and slices by level as in ``exam_metrics.json``.

    Raises:
        PredictionsError: The table cannot be evaluated; the message says where and why.
    """
    predictions = read_predictions(path)
    return predictions, evaluate_predictions(predictions, temperature, draws, seed)


def evaluate_grades(joined: Joined, draws: int, seed: int) -> dict[str, Any]:
    """Compute the metrics of graded exams.

    The grade is the one in the table, also where it is not the likeliest class.

    Returns:
        ``exam``, slices as in ``exam_metrics.json``: all exams, and by acquisition system where the labels name it; and
        ``join``, the counts of what did not join.
    """
    systems = sorted({exam.label.acquisition_system for exam in joined.exams} - {""})
    parts: list[tuple[dict[str, str], list[LabelledGrade]]] = [({}, list(joined.exams))]
    for system in systems:
        chosen = [exam for exam in joined.exams if exam.label.acquisition_system == system]
        parts.append(({ACQUISITION_SYSTEM: system}, chosen))
    entries = []
    for chosen_slice, exams in parts:
        graded = [exam for exam in exams if exam.grade.status == GRADED]
        clusters = [cluster_of(exam.patient, exam.grade.exam) for exam in graded]
        _, codes = np.unique(clusters, return_inverse=True)
        scores = Scores(
            keys=tuple(exam.grade.exam for exam in graded),
            labels=np.asarray([DENSITY_CLASSES.index(exam.label.density) for exam in graded], np.int64),
            probabilities=np.asarray([exam.grade.probabilities for exam in graded]).reshape(-1, len(DENSITY_CLASSES)),
            raw=None,
            clusters=codes.astype(np.int64),
            ungraded=len(exams) - len(graded),
            given=np.asarray([DENSITY_CLASSES.index(exam.grade.density) for exam in graded], np.int64),
        )
        figures = density_figures(scores, draws, seed)
        entries.append(slice_entry(chosen_slice, confusion_matrix(scores), figures, scores.ungraded))
    join = {
        "exams_without_label": dict(joined.unlabelled),
        "exams_with_unusable_label": dict(joined.bad_labels),
        "labels_without_exam": joined.unused_labels,
        "joined_by": dict(joined.joined_by),
        "warnings": list(joined.warnings),
    }
    return {"exam": entries, "join": join}


def grade_tables(result: Mapping[str, Any]) -> list[RenderableType]:
    """Return the metrics of graded exams as tables and remarks for the user."""
    exams, join = _plain(result["exam"]), result["join"]
    table = Table(title="Metrics and 95 % intervals", title_justify="left")
    table.add_column("")
    table.add_column(f"exams, n = {_n(exams)}")
    for name in (metric.name for metric in METRICS):
        if name in exams["metrics"]:
            table.add_row(metric_label(name), _cell(name, exams["metrics"][name]))
    parts: list[RenderableType] = [table, _confusion_table(exams)]
    if len(result["exam"]) > 1:
        parts.append(_slice_table("exam", result["exam"]))
    remarks = [
        f"{exams['n']} exams with a grade and a label. Proportions have Wilson's interval, the rest a bootstrap."
    ]
    kinds = ", ".join(f"{count} by {kind}" for kind, count in join["joined_by"].items())
    remarks += [f"Joined: {kinds}."] if kinds else []
    if exams["ungraded"]:
        remarks.append(f"{exams['ungraded']} exams with a label were refused or failed: no metric counts them.")
    for status, count in join["exams_without_label"].items():
        remarks.append(f"{count} {status} exams of the table have no label: not counted.")
    for reason, count in join["exams_with_unusable_label"].items():
        remarks.append(f"{count} exams have a label that cannot be used ({reason}): not counted.")
    if join["labels_without_exam"]:
        remarks.append(f"{join['labels_without_exam']} labels have no exam in the table: not counted.")
    if exams["small"]:
        remarks.append(f"Fewer than {SMALL_N} are too few for an assessment: read the intervals, not the values.")
    return [*parts, *map(Text, [*remarks, *join["warnings"]])]


def _cell(name: str, figure: Mapping[str, Any] | None) -> Text:
    if figure is None:
        return Text("")
    metric = Figure.model_validate(figure)
    interval = interval_text(name, metric)
    return Text.assemble(value_text(name, metric.value), (f"  {interval}" if interval else "", "dim"))


def _plain(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(entry for entry in entries if not entry["slice"])


def _n(entry: Mapping[str, Any]) -> str:
    return f"{entry['n']} (too few)" if entry["small"] else str(entry["n"])


def _figure_table(result: Mapping[str, Any]) -> Table:
    levels = {level: _plain(result[level]) for level in _LEVELS}
    table = Table(title="Metrics and 95 % intervals", title_justify="left")
    table.add_column("")
    for level, entry in levels.items():
        table.add_column(f"{level}s, n = {_n(entry)}")
    for name in (metric.name for metric in METRICS):
        figures = [entry["metrics"].get(name) for entry in levels.values()]
        if any(figures):
            table.add_row(metric_label(name), *(_cell(name, figure) for figure in figures))
    return table


def _confusion_table(entry: Mapping[str, Any]) -> Table:
    table = Table(title="Exams: label by grade", title_justify="left")
    table.add_column("")
    for density in DENSITY_CLASSES:
        table.add_column(density, justify="right")
    for density, counts in zip(DENSITY_CLASSES, entry["confusion_matrix"], strict=True):
        table.add_row(density, *map(str, counts))
    return table


def _slice_table(level: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=f"{level.capitalize()}s by slice", title_justify="left")
    for column in ("slice", "n", *(metric_label(name) for name in BY_SLICE)):
        table.add_column(column)
    for entry in entries:
        if entry["slice"]:
            name = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in entry["slice"].items())
            cells = (_cell(metric, entry["metrics"][metric]) for metric in BY_SLICE)
            table.add_row(Text(name), Text(_n(entry), "yellow" if entry["small"] else ""), *cells)
    return table


def metric_tables(predictions: Predictions, result: Mapping[str, Any]) -> list[RenderableType]:
    """Return the result as tables and remarks for the user."""
    exams = _plain(result["exam"])
    parts: list[RenderableType] = [_figure_table(result), _confusion_table(exams), _slice_table("exam", result["exam"])]
    parts.append(_slice_table("view", [e for e in result["view"] if set(e["slice"]) <= {"view"}]))
    images = len(predictions.rows)
    remarks = [f"{exams['n']} exams, {images} images. Proportions have Wilson's interval, the rest a bootstrap."]
    whole = len(VIEWS) * exams["n"]
    if images < whole:
        remarks.append(f"{whole - images} of {whole} views missing: the mean is over the available views.")
    if any(entry["small"] for entry in result["exam"]):
        remarks.append(f"Fewer than {SMALL_N} are too few for an assessment: read the intervals, not the values.")
    for name, count in predictions.not_sliced.items():
        remarks.append(f"Not sliced by {name}: it has {count} different values.")
    return [*parts, *map(Text, remarks)]
