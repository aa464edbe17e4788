"""Figures and charts: positions of marks, bars and curves match their values."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.report_generator.artifacts import History, ReadSliceMetrics
from components.report_generator.charts import ORANGE
from components.report_generator.figures import (
    IntervalGroup,
    IntervalRow,
    class_bars,
    confusion_figure,
    interval_figure,
    scale_of,
    segments,
)
from components.report_generator.page import Cell, Picture, Table
from components.report_generator.sections.training import training_chart
from components.statistics.intervals import Figure

MATRIX = ((8, 2, 0, 0), (1, 7, 2, 0), (0, 0, 0, 0), (0, 0, 1, 3))


def svg_of(picture: Picture) -> str:
    header, _, content = (picture.uri or "").partition(",")
    assert header == "data:image/svg+xml;base64"
    svg = base64.b64decode(content).decode()
    ElementTree.fromstring(svg)  # well-formed
    return svg


def texts_of(svg: str) -> list[str]:
    """Matplotlib writes each drawn text as a comment before its paths."""
    return [text.strip().replace("\xa0", " ") for text in re.findall(r"<!--(.*?)-->", svg, re.S)]


def metric(value: float | None, low: float | None = None, high: float | None = None, n: int = 50) -> Figure:
    return Figure(value=value, ci95=None if low is None or high is None else (low, high), n=n)


def test_confusion_matrix_has_counts_row_shares_and_totals() -> None:
    found = confusion_figure(ReadSliceMetrics(slice={}, n=24, confusion_matrix=MATRIX, metrics={}), "T")
    assert [(c.count, c.share.replace("\xa0", " "), c.shade) for c in found.rows[0].cells[:2]] == [
        ("8", "80 %", 8),
        ("2", "20 %", 2),
    ]
    assert [row.n for row in found.rows] == ["10", "10", "0", "4"]
    assert {(c.count, c.share, c.shade) for c in found.rows[2].cells} == {("0", "–", 0)}, "no exams, no shares"


def test_confusion_matrix_must_have_four_rows_of_four() -> None:
    with pytest.raises(ValueError, match="confusion_matrix"):
        ReadSliceMetrics(slice={}, n=1, confusion_matrix=((1, 0), (0, 1)), metrics={})  # wrong, to be refused


def test_marks_lie_where_their_values_are() -> None:
    rows = [IntervalRow("GE", {"accuracy": metric(0.8, 0.7, 0.9)}), IntervalRow("IMS", {"accuracy": metric(1.0, n=7)})]
    figure = interval_figure("c", ("accuracy",), [IntervalGroup("", rows)], {"accuracy": 0.75})
    [(_, [ge, ims])] = figure.groups
    [axis] = figure.axes
    assert axis.ticks == ((0.0, "50"), (20.0, "60"), (40.0, "70"), (60.0, "80"), (80.0, "90"), (100.0, "100"))
    assert (axis.reference, axis.label) == (50.0, "Accuracy, four classes, %")
    [mark] = ge.marks
    assert (mark.at, mark.low, mark.high) == (60.0, 40.0, 80.0)
    assert (mark.text, mark.interval) == ("80.0\xa0%", "70.0 to 90.0\xa0%")
    assert (ge.few, ims.few, ims.n) == (False, True, 7)
    [mark] = ims.marks
    assert (mark.at, mark.low, mark.interval) == (100.0, None, "no interval")


def test_undefined_figures_and_empty_groups_are_not_drawn() -> None:
    rows = [IntervalRow("A", {"quadratic_kappa": metric(None)}), IntervalRow("B", {"quadratic_kappa": metric(-0.2)})]
    groups = [IntervalGroup("one", rows), IntervalGroup("none", [])]
    figure = interval_figure("c", ("quadratic_kappa", "accuracy"), groups)
    [(title, [undefined, negative])] = figure.groups
    assert title == "one"
    assert (undefined.marks[0].text, undefined.marks[0].at) == ("undefined", None)
    assert (negative.marks[0].text, negative.marks[0].at) == ("-0.200", 4.0), "the axis begins at -0.25"
    assert negative.marks[1].text == "undefined", "a metric that the row lacks"
    assert interval_figure("c", ("accuracy",), []).groups == ()


@given(st.lists(st.tuples(st.floats(-1, 3), st.floats(0, 1)), min_size=1, max_size=8))
def test_axes_hold_everything_between_round_ticks(values: list[tuple[float, float]]) -> None:
    metrics = [metric(value, value - half, value + half) for value, half in values]
    scale = scale_of(metrics)
    drawn = [x for m in metrics if m.ci95 for x in m.ci95]
    assert scale.low <= min(drawn) + 1e-6
    assert scale.high >= max(drawn) - 1e-6
    assert 3 <= len(scale.ticks) <= 8
    assert scale.ticks[0] == pytest.approx(scale.low)
    assert scale.ticks[-1] == pytest.approx(scale.high)


def test_small_figures_have_an_axis_that_shows_them() -> None:
    scale = scale_of([metric(0.04, 0.01, 0.19)])
    assert scale.low == 0.0
    assert scale.high == pytest.approx(0.2)
    assert scale_of([metric(0.04, -0.01, 0.1)]).high == 1.0


def test_bars_fill_the_line_in_the_order_of_the_classes() -> None:
    [(name, parts, total)] = class_bars("c", {"train": {"D": 2, "A": 1, "C": 17}}).bars
    assert (name, total) == ("train", "n = 20")
    assert [(p.density, p.start, p.width, p.text) for p in parts] == [
        ("A", 0.0, 5.0, ""),  # no room for a text
        ("C", 5.0, 85.0, "C 17"),
        ("D", 90.0, 10.0, "D 2"),
    ]
    assert segments((0.0, 0.0, 0.0, 0.0)) == ()


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    texts = (
        ("GE", "1,234", "86.2\xa0%", "–", "7 of 12", "4 signatures", ""),
        ("7", "", "undefined", "-0.200", "9", "3", ""),
    )
    table = Table("c", ("",) * 7, tuple(tuple(map(Cell, row)) for row in texts))
    assert table.numeric == (False, True, True, True, True, False, False)


def _history(losses: list[float], best: int) -> History:
    epochs = [
        {"epoch": i, "loss": x, "accuracy": 0.5, "val_loss": x, "val_accuracy": 0.5}
        for i, x in enumerate(losses, start=1)
    ]
    return History.model_validate(
        {
            "view": "CC_R",
            "best_epoch": best,
            "parameters": 1,
            "convolutions": 41,
            "images": {},
            "epochs": epochs,
        }
    )


@pytest.mark.parametrize("losses", [[1.0], [float("nan"), 1.0], [2.0, 1.0, float("inf")]])
def test_training_chart_marks_the_best_epoch(losses: list[float]) -> None:
    best = losses.index(1.0) + 1
    picture = training_chart(_history(losses, best))
    svg = svg_of(picture)
    assert ORANGE.lower() in svg.lower()
    assert picture.caption.replace("\xa0", " ") == f"CC R: BV epoch {best} of {len(losses)}; 0 train and 0 eval images"
    assert f"Best epoch {best}: eval loss 1.000" in picture.alt


def test_best_epoch_that_was_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="best_epoch must be one of"):
        _history([1.0, 2.0], 3)


def test_losses_that_span_much_have_a_logarithmic_axis() -> None:
    assert "Loss" in texts_of(svg_of(training_chart(_history([1.2, 1.0], 2))))
    texts = texts_of(svg_of(training_chart(_history([12.0, 0.3], 2))))
    assert {"Loss, log axis", "0.5", "10", "BV epoch"} <= set(texts)
