"""One picture of a run, for a README or a slide."""

from __future__ import annotations

import textwrap
from typing import Final

import cv2
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.report_generator.artifacts import Evaluation, Explanations
from components.report_generator.charts import (
    IntervalRow,
    chart_style,
    draw_confusion,
    draw_intervals,
    plain_label,
    png_bytes,
)
from components.report_generator.inputs import ReportInputs
from components.report_generator.loading import load_artifacts
from components.report_generator.pictures import overlay_path, read_thumbnail
from components.report_generator.sections.evaluation import slices_by
from components.report_generator.sections.explanation import typical
from components.report_generator.verdict import verdict
from schema.features import DENSITY_CLASSES

_SIZE: Final = (12.0, 8.4)  # inches
_DPI: Final = 110
_VIEW: Final = "MLO_R"
_THUMBNAIL: Final = 360  # pixels


def _draw_evaluation(matrix_axes: Axes, slice_axes: Axes, evaluation: Evaluation | None) -> None:
    overall = evaluation.overall if evaluation else None
    if evaluation is None or overall is None:
        matrix_axes.set_axis_off()
        slice_axes.set_axis_off()
        return
    draw_confusion(matrix_axes, overall.confusion_matrix, "Exams of the test split")
    chosen = [("All", overall), *slices_by(evaluation.exam, "acquisition_system")]
    rows = [IntervalRow(name, s.metrics["accuracy"]) for name, s in chosen if "accuracy" in s.metrics]
    draw_intervals(slice_axes, rows, "accuracy", None)


def _draw_heat_maps(axes: list[Axes], explanations: Explanations | None) -> None:
    for density, place in zip(DENSITY_CLASSES, axes, strict=True):
        place.set_axis_off()
        example = typical(explanations.views, density, _VIEW) if explanations else None
        if explanations is None or example is None:
            continue
        pixels = read_thumbnail(overlay_path(explanations.folder, example.overlay or ""), _THUMBNAIL)
        if pixels is not None:
            place.imshow(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            place.set_title(f"Label {density}, graded {example.predicted}")


def summary_picture(inputs: ReportInputs) -> bytes:
    """Draws verdict, confusion matrix, accuracy by acquisition system and a heat map of each class.

    Args:
        inputs: Artifact folders; what is absent is left blank.

    Returns:
        PNG bytes, the same for equal inputs.

    Raises:
        ReportInputError: A given folder lacks a file or a file lacks a key.
    """
    artifacts = load_artifacts(inputs)
    head = verdict(artifacts, inputs.push)
    figures = "     ".join(f"{tile.label}: {tile.value}" for tile in head.tiles[:3])
    lines = (f"{head.word}. {textwrap.shorten(plain_label(head.sentence), 100)}", figures)
    with chart_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        figure.suptitle("\n".join(filter(None, lines)), fontsize=13, fontweight="bold")
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.1, 1))
        _draw_evaluation(upper.add_subplot(1, 2, 1), upper.add_subplot(1, 2, 2), artifacts.evaluation)
        count = len(DENSITY_CLASSES)
        places = [lower.add_subplot(1, count, column + 1) for column in range(count)]
        _draw_heat_maps(places, artifacts.explanations)
        return png_bytes(figure, _DPI)
