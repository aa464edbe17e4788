"""Confusion matrices as tables: counts, and shares of the row."""

from __future__ import annotations

from components.report_generator.artifacts import SliceMetrics
from components.report_generator.page import Confusion, ConfusionCell, ConfusionRow
from components.report_generator.text import share
from schema.features import DENSITY_CLASSES


def _cell(count: int, total: int) -> ConfusionCell:
    return ConfusionCell(f"{count:,}", share(count, total), round(10 * count / total) if total else 0)


def confusion_figure(metrics: SliceMetrics, caption: str) -> Confusion:
    """Lays out a confusion matrix.

    Args:
        metrics: Figures of the slice; rows of its matrix are the labels, columns the grades.
        caption: What was graded, of which set.
    """
    rows = (
        ConfusionRow(density, f"{sum(counts):,}", tuple(_cell(count, sum(counts)) for count in counts))
        for density, counts in zip(DENSITY_CLASSES, metrics.confusion_matrix, strict=True)
    )
    return Confusion(caption, tuple(rows))
