"""The command ``evaluate``: the metrics of a table of view probabilities, with intervals, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from components.evaluator.offline import evaluate_predictions
from components.evaluator.predictions import Predictions, read_predictions
from components.report_generator.text import interval_text, metric_label, value_text
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import BY_SLICE, METRICS
from schema.features import DENSITY_CLASSES, VIEWS

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
