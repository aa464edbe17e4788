"""Charts as SVG data URIs, drawn with matplotlib's object API and the same to the byte for equal data.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; shapes and line styles
differ too. Text from files is never read as math.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from components.report_generator.artifacts import AgeSummary, History, Metric, SliceMetrics
from components.report_generator.page import Picture
from components.report_generator.pictures import data_uri
from components.report_generator.text import (
    SMALL_N,
    interval_text,
    is_percent,
    metric_label,
    value_text,
    view_name,
)
from schema.features import DENSITY_CLASSES

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREY: Final = "#767676"
_INK: Final = "#1b1f24"
_GRID: Final = "#e3e6ea"
_LABEL_WIDTH: Final = 26  # characters before a slice name wraps
_STYLE: Final = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "breast-density-report",
}


@dataclass(frozen=True)
class IntervalRow:
    """One line of an interval chart: a label and its figure."""

    label: str
    metric: Metric


@contextmanager
def chart_style() -> Iterator[None]:
    """Applies the look of the report to figures made and saved inside."""
    with matplotlib.rc_context(_STYLE):
        yield


def plain_label(label: str) -> str:
    """Returns a label without characters that have no glyph and would make an SVG ill-formed."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", label)


def svg_uri(figure: Figure) -> str:
    """Returns a figure as an SVG data URI without a date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri(buffer.getvalue(), "image/svg+xml")


def png_bytes(figure: Figure, dpi: int) -> bytes:
    """Returns a figure as PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def draw_confusion(axes: Axes, matrix: Sequence[Sequence[int]], title: str) -> None:
    """Draws counts and row per cent, shaded by row per cent.

    Args:
        axes: Where to draw.
        matrix: Counts [4][4], rows the true class, columns the predicted class.
        title: Title of the chart.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        percent = f"{100 * shares[row, column]:.0f} %" if totals[row] else "–"
        axes.text(
            column,
            row,
            f"{counts[row, column]}\n{percent}",
            ha="center",
            va="center",
            fontweight="bold" if row == column else "normal",
            color="white" if shares[row, column] > 0.55 else _INK,
        )
    ticks = range(len(DENSITY_CLASSES))
    axes.set_xticks(ticks, DENSITY_CLASSES)
    axes.set_yticks(ticks, [f"{c}  (n = {n})" for c, n in zip(DENSITY_CLASSES, totals, strict=True)])
    axes.set_xlabel("Class given by the model")
    axes.set_ylabel("Class in the label")
    axes.set_title(title)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def confusion_chart(metrics: SliceMetrics, title: str) -> Picture:
    """Draws a confusion matrix as a picture of its own."""
    with chart_style():
        figure = Figure(figsize=(4.8, 4.3), layout="constrained")
        draw_confusion(figure.add_subplot(), metrics.confusion_matrix, title)
        uri = svg_uri(figure)
    right = ", ".join(
        f"{row[i]} of {sum(row)} in class {c}"
        for i, (c, row) in enumerate(zip(DENSITY_CLASSES, metrics.confusion_matrix, strict=True))
    )
    return Picture(uri, f"Confusion matrix, {title}, n = {metrics.n}. Right: {right}.")


def draw_intervals(axes: Axes, rows: Sequence[IntervalRow], name: str, reference: float | None) -> None:
    """Draws values with 95 % whiskers, one line a row; small samples hollow and grey.

    Args:
        axes: Where to draw.
        rows: Labels and figures, from top to bottom.
        name: Metric name, which decides label and unit.
        reference: Value of the whole set, drawn as a dashed line.
    """
    for position, row in enumerate(rows):
        small = row.metric.n < SMALL_N
        colour = GREY if small else BLUE
        value = row.metric.value
        if value is None:
            axes.text(0.02, position, "undefined", color=GREY, va="center", transform=axes.get_yaxis_transform())
            continue
        if row.metric.ci95 is not None:
            axes.hlines(position, *row.metric.ci95, color=colour, linewidth=1.6)
            axes.vlines(row.metric.ci95, position - 0.14, position + 0.14, color=colour, linewidth=1.6)
        axes.plot(
            value,
            position,
            marker="o",
            markersize=7,
            color=colour,
            markerfacecolor="white" if small else colour,
        )
        shown = value_text(name, value)
        axes.annotate(
            shown,
            (value, position),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )
    if reference is not None:
        axes.axvline(reference, color=ORANGE, linestyle="--", linewidth=1.1, zorder=0)
    axes.set_yticks(range(len(rows)), [_row_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    drawn = [x for r in rows for x in (r.metric.value, *(r.metric.ci95 or ())) if x is not None]
    axes.set_xlim(min([0.0, *drawn]) - 0.02, 1.02)
    if is_percent(name):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.xaxis.grid(color=_GRID)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(metric_label(name))


def _row_label(row: IntervalRow) -> str:
    name = textwrap.fill(plain_label(row.label), _LABEL_WIDTH, max_lines=3, placeholder=" …")
    return f"{name}\nn = {row.metric.n:,}{' (small)' if row.metric.n < SMALL_N else ''}"


def _row_text(row: IntervalRow, name: str) -> str:
    interval = interval_text(name, row.metric)
    value = value_text(name, row.metric.value) + (f" ({interval})" if interval else "")
    return f"{row.label}: {value}, n = {row.metric.n}"


def interval_chart(rows: Sequence[IntervalRow], name: str, reference: float | None, subject: str) -> Picture | None:
    """Draws a slice chart, or returns ``None`` where no row has a defined value.

    Args:
        rows: Labels and figures, from top to bottom.
        name: Metric name.
        reference: Value of the whole set, or ``None``.
        subject: What the rows are, for the alternative text, such as ``by acquisition system``.
    """
    if all(row.metric.value is None for row in rows):
        return None
    with chart_style():
        figure = Figure(figsize=(5.6, 1.1 + 0.68 * len(rows)), layout="constrained")
        draw_intervals(figure.add_subplot(), rows, name, reference)
        uri = svg_uri(figure)
    figures = "; ".join(_row_text(row, name) for row in rows)
    return Picture(uri, f"{metric_label(name)} {subject} with 95 % intervals. {figures}.")


def training_chart(history: History) -> Picture:
    """Draws loss and accuracy over the epochs, training and eval split, with the best epoch marked."""
    epochs = [e.epoch for e in history.epochs]
    best = history.best
    panels = (
        ("Loss", [e.loss for e in history.epochs], [e.val_loss for e in history.epochs], best.val_loss),
        (
            "Accuracy",
            [e.accuracy for e in history.epochs],
            [e.val_accuracy for e in history.epochs],
            best.val_accuracy,
        ),
    )
    with chart_style():
        figure = Figure(figsize=(5.6, 2.7), layout="constrained")
        for index, (title, train, held_out, at_best) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, 2, index)
            axes.plot(epochs, train, color=GREY, linewidth=1.4, linestyle="--", label="train")
            axes.plot(epochs, held_out, color=BLUE, linewidth=1.8, label="eval")
            axes.axvline(best.epoch, color=ORANGE, linewidth=1, linestyle=":")
            axes.plot(best.epoch, at_best, marker="D", markersize=6, color=ORANGE, linestyle="none")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            axes.grid(color=_GRID)
            axes.set_title(title)
            axes.set_xlabel("Epoch")
            if index == 1:
                axes.legend(frameon=False, fontsize=9)
            else:
                axes.set_ylim(0, 1.02)
                axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        uri = svg_uri(figure)
    caption = f"{view_name(history.view)}: best epoch {best.epoch} of {len(epochs)}"
    return Picture(
        uri,
        f"Training curves of {history.view}. Best epoch {best.epoch}: eval loss {best.val_loss:.3f}, "
        f"eval accuracy {value_text('accuracy', best.val_accuracy)}.",
        caption,
    )


def class_chart(exams: Mapping[str, int]) -> Picture:
    """Draws the number and share of exams by density class."""
    counts = [exams.get(c, 0) for c in DENSITY_CLASSES]
    total = sum(counts)
    labels = [f"{n:,}\n{100 * n / total:.0f} %" if total else "0" for n in counts]
    with chart_style():
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.bar_label(axes.bar(DENSITY_CLASSES, counts, color=BLUE, width=0.62), labels, padding=3)
        axes.margins(y=0.2)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.grid(color=_GRID)
        axes.set_title("Exams by density class")
        uri = svg_uri(figure)
    listed = ", ".join(f"{c}: {n}" for c, n in zip(DENSITY_CLASSES, counts, strict=True))
    return Picture(uri, f"Exams by density class. {listed}.")


def age_chart(ages: Mapping[str, AgeSummary]) -> Picture | None:
    """Draws mean, deviation and median of age by density class, or ``None`` where no age is known."""
    known = [(c, ages[c]) for c in DENSITY_CLASSES if c in ages and ages[c].mean is not None]
    if not known:
        return None
    with chart_style():
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        axes = figure.add_subplot()
        means = [age.mean or 0.0 for _, age in known]
        spread = [age.sd or 0.0 for _, age in known]
        medians = np.array([age.median for _, age in known], dtype=float)  # None becomes NaN
        place = np.arange(len(known))
        axes.errorbar(place, means, spread, fmt="o", color=BLUE, capsize=5, markersize=7, label="mean ± deviation")
        axes.plot(place + 0.14, medians, marker="_", markersize=14, color=ORANGE, ls="none", label="median")
        axes.set_xticks(place, [c for c, _ in known])
        axes.set_xlim(-0.6, len(known) - 0.4)
        axes.yaxis.grid(color=_GRID)
        axes.set_title("Age by density class, years")
        axes.legend(frameon=False, fontsize=9)
        uri = svg_uri(figure)
    listed = ", ".join(f"{c}: {age.mean:.0f}" for c, age in known)
    return Picture(uri, f"Mean age in years by density class. {listed}.")
