"""Blocks of the section "Evaluation": the model beside grey statistics, and its most confident grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure as Chart
from matplotlib.ticker import PercentFormatter

from components.report_generator.artifacts import GreyBaseline, ReadEvaluation, ReadSelectivePoint, ReadSliceMetrics
from components.report_generator.charts import BLUE, CHART_WIDTH, GRID, ORANGE, chart_picture, chart_style
from components.report_generator.page import Block, Cell, Charts, Heading, Note, Picture, Table
from components.report_generator.text import (
    SMALL_N_NOTE,
    interval_text,
    is_percent,
    metric_cell,
    metric_label,
    n_cell,
    share,
    value_text,
)
from components.statistics.intervals import SMALL_N, Figure
from components.statistics.metrics import CLASS_RECALLS

_COMPARED: Final = ("quadratic_kappa", "accuracy", "macro_recall", "dense_accuracy", *CLASS_RECALLS)
_IN_TABLE: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_NOBODY: Final = Figure(value=None, ci95=None, n=0)


def _sentence(gain: Figure) -> Note:
    """Say in one sentence whether the network is shown to be better than the baseline."""
    name = "quadratic_kappa"
    measured = f"{metric_label(name)}: difference {_signed_text(name, gain)}, 95 % interval {interval_text(name, gain)}"
    if gain.value is None or gain.ci95 is None:
        return Note("The network is not shown to be better than grey statistics: the difference is undefined.", "warn")
    if gain.ci95[0] > 0:
        return Note(f"The network is better than grey statistics of the same pictures. {measured}.", "pass")
    if gain.ci95[1] < 0:
        return Note(f"The network is worse than grey statistics of the same pictures. {measured}.", "fail")
    return Note(f"The network is not shown to be better than grey statistics of the same pictures. {measured}.", "warn")


def _signed_text(name: str, figure: Figure) -> str:
    text = value_text(name, figure.value)
    return text if figure.value is None or figure.value <= 0 else f"+{text}"


def _difference(name: str, figure: Figure) -> Cell:
    return Cell(_signed_text(name, figure), interval_text(name, figure), "muted" if figure.n < SMALL_N else "")


def _n_of(name: str, overall: ReadSliceMetrics) -> int:
    counts = [sum(row) for row in overall.confusion_matrix]
    return counts[CLASS_RECALLS.index(name)] if name in CLASS_RECALLS else sum(counts)


def _gain_table(grey: GreyBaseline, simple: ReadSliceMetrics, overall: ReadSliceMetrics) -> Table:
    rows = tuple(
        (
            Cell(metric_label(name)),
            _difference(name, grey.gain.get(name, _NOBODY)),
            metric_cell(name, overall.metrics.get(name, _NOBODY).model_copy(update={"n": _n_of(name, overall)})),
            metric_cell(name, simple.metrics.get(name, _NOBODY).model_copy(update={"n": _n_of(name, overall)})),
            n_cell(_n_of(name, overall)),
        )
        for name in _COMPARED
        if name in overall.metrics and name in simple.metrics
    )
    return Table(
        f"The network beside a regression on grey statistics, exams of the test split, n = {overall.n:,}",
        ("Metric", "Difference", "Network", "Grey statistics", "Exams"),
        rows,
        "Grey statistics: share of bright tissue, grey quantiles and texture energy of the same pictures, with an"
        f" ordinal regression that was fitted to {grey.train_exams:,} exams of the train split. Difference: network"
        f" minus grey statistics, with a paired 95 % interval, by patient. {SMALL_N_NOTE}",
    )


def baseline_blocks(evaluation: ReadEvaluation) -> list[Block]:
    """Compare the network with grey statistics, or say why it was not compared."""
    grey, overall = evaluation.grey_baseline, evaluation.overall
    if grey is None or overall is None:
        return []
    heading = Heading("Beside a simple baseline")
    if grey.problem or grey.exam is None:
        return [heading, Note(f"The network was not compared with grey statistics. {grey.message}", "warn")]
    sentence = _sentence(grey.gain.get("quadratic_kappa", _NOBODY))
    return [heading, sentence, _gain_table(grey, grey.exam, overall)]


def _curve(points: Sequence[ReadSelectivePoint], name: str, colour: str) -> Picture:
    drawn = [(point, point.metrics[name]) for point in points if name in point.metrics]
    known = [(point, figure) for point, figure in drawn if figure.value is not None]
    with chart_style():
        chart = Chart(figsize=(CHART_WIDTH, 2.6))
        axes = chart.subplots(gridspec_kw={"left": 0.13, "right": 0.97, "bottom": 0.18, "top": 0.9})
        banded = [(point, figure.ci95) for point, figure in known if figure.ci95 is not None]
        axes.fill_between(
            [point.coverage for point, _ in banded],
            [low for _, (low, _) in banded],
            [high for _, (_, high) in banded],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        values = [figure.value for _, figure in known if figure.value is not None]
        axes.plot([point.coverage for point, _ in known], values, color=colour, linewidth=1.6, marker="o", markersize=3)
        axes.set_title(metric_label(name))
        axes.set_xlim(1.02, 0)  # to the right fewer exams keep their grade
        if is_percent(name):
            axes.set_ylim(min([0.5, *(low for _, (low, _) in banded)]), 1.01)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_xlabel("Exams that keep their grade")
        axes.grid(color=GRID)
        first, last = drawn[0][1], drawn[-1][1]
        alt = (
            f"{metric_label(name)} of the most confident exams: {value_text(name, first.value)} of all exams,"
            f" {value_text(name, last.value)} of the {drawn[-1][0].n:,} most confident."
        )
        caption = f"{metric_label(name)} if only the most confident exams are graded; band: 95 % interval"
        return chart_picture(chart, alt, caption)


def _curve_table(points: Sequence[ReadSelectivePoint]) -> Table:
    chosen = {min(points, key=lambda point: abs(point.coverage - wanted)).n for wanted in _IN_TABLE}
    rows = tuple(
        (
            Cell(share(point.n, points[0].n)),
            n_cell(point.n),
            Cell(f"{point.confidence:.3f}"),
            *(metric_cell(name, point.metrics.get(name)) for name in ("accuracy", "quadratic_kappa")),
        )
        for point in points
        if point.n in chosen
    )
    return Table(
        "Selective grading: exams of the test split by confidence, the largest probability",
        ("Graded", "Exams", "Least confidence", metric_label("accuracy"), metric_label("quadratic_kappa")),
        rows,
        "Exams with less confidence would get no grade. Kappa also changes because the mix of classes changes. The"
        f" confidence says nothing about images that are unlike the training data. {SMALL_N_NOTE}",
    )


def selective_blocks(evaluation: ReadEvaluation) -> list[Block]:
    """Show how good the grades are if only the most confident ones are kept; nothing without exams."""
    points = evaluation.selective
    if len(points) < 2:
        return []
    names = [(name, colour) for name, colour in (("accuracy", BLUE), ("quadratic_kappa", ORANGE))]
    charts = tuple(_curve(points, name, colour) for name, colour in names if name in points[0].metrics)
    return [Heading("Selective grading"), Charts(charts), _curve_table(points)]
