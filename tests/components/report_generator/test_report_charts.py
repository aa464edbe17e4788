from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.report_generator.artifacts import AgeSummary, History, Metric, SliceMetrics
from components.report_generator.charts import (
    BLUE,
    GREY,
    ORANGE,
    IntervalRow,
    age_chart,
    class_chart,
    confusion_chart,
    interval_chart,
    training_chart,
)
from components.report_generator.page import Picture

MATRIX = ((8, 2, 0, 0), (1, 7, 2, 0), (0, 0, 0, 0), (0, 0, 1, 3))


def svg_of(picture: Picture | None) -> str:
    assert picture is not None
    header, _, content = (picture.uri or "").partition(",")
    assert header == "data:image/svg+xml;base64"
    svg = base64.b64decode(content).decode()
    ElementTree.fromstring(svg)  # well-formed
    return svg


def texts_of(svg: str) -> list[str]:
    """Matplotlib writes each drawn text as a comment before its paths."""
    return [text.strip().replace("\xa0", " ") for text in re.findall(r"<!--(.*?)-->", svg, re.S)]


def rows(*values: tuple[str, float | None, tuple[float, float] | None, int]) -> list[IntervalRow]:
    return [IntervalRow(label, Metric(value=v, ci95=ci, n=n)) for label, v, ci, n in values]


def test_confusion_matrix_shows_counts_row_shares_and_totals() -> None:
    texts = " ".join(
        texts_of(svg_of(confusion_chart(SliceMetrics(slice={}, n=24, confusion_matrix=MATRIX, metrics={}), "T")))
    )
    assert re.search(r"8\s+80 %\s+2\s+20 %\s+0\s+0 %", texts)
    assert re.search(r"1\s+25 %\s+3\s+75 %", texts)
    assert "C  (n = 0)" in texts
    assert re.search(r"0\s+–", texts)  # a row without exams has no shares


def test_confusion_matrix_must_have_four_rows_of_four() -> None:
    with pytest.raises(ValueError, match="confusion_matrix"):
        SliceMetrics(slice={}, n=1, confusion_matrix=((1, 0), (0, 1)), metrics={})  # type: ignore[arg-type]


def test_interval_chart_labels_n_and_draws_small_samples_in_grey() -> None:
    svg = svg_of(interval_chart(rows(("GE", 0.8, (0.7, 0.9), 50), ("IMS", 0.5, (0.1, 0.9), 7)), "accuracy", 0.78, ""))
    texts = texts_of(svg)
    assert "80.0 %" in texts
    assert "50.0 %" in texts
    joined = " ".join(texts)
    assert "n = 50" in joined
    assert "n = 7 (small)" in joined
    assert "n = 50 (small)" not in joined
    for colour in (BLUE, GREY, ORANGE):
        assert colour.lower() in svg.lower()


def test_interval_chart_has_no_large_sample_colour_when_all_are_small() -> None:
    svg = svg_of(interval_chart(rows(("GE", 0.8, (0.7, 0.9), 19)), "accuracy", None, ""))
    assert BLUE.lower() not in svg.lower()


def test_interval_chart_names_undefined_rows_and_is_absent_when_all_are() -> None:
    one = interval_chart(rows(("A", None, None, 30), ("B", -0.2, None, 30)), "quadratic_kappa", None, "by class")
    assert {"undefined", "-0.200"} <= set(texts_of(svg_of(one)))
    assert one is not None
    assert "A: undefined (, n = 30)" not in one.alt
    assert "A: undefined, n = 30" in one.alt
    assert interval_chart(rows(("A", None, None, 30)), "accuracy", 0.5, "") is None
    assert interval_chart([], "accuracy", 0.5, "") is None


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@settings(max_examples=5, deadline=None)
@given(st.text(max_size=120))
def test_any_label_makes_a_well_formed_chart(label: str) -> None:
    svg_of(interval_chart(rows((label, 0.5, (0.4, 0.6), 30)), "accuracy", 0.5, ""))


@pytest.mark.parametrize("label", ["$\\frac{", "--> <script>", "a--b", "]]>", "\x00\x0b", "&amp;", "_^{}"])
def test_hostile_label_is_drawn_as_text(label: str) -> None:
    svg = svg_of(interval_chart(rows((label, 0.5, (0.4, 0.6), 30)), "accuracy", 0.5, ""))
    assert "<script" not in re.sub(r"<!--.*?-->", "", svg, flags=re.S)


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
    assert picture.caption.replace("\xa0", " ") == f"CC R: best epoch {best} of {len(losses)}"
    assert f"Best epoch {best}: eval loss 1.000" in picture.alt


def test_best_epoch_that_was_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="best_epoch must be one of"):
        _history([1.0, 2.0], 3)


def test_class_chart_shows_counts_and_shares() -> None:
    texts = texts_of(svg_of(class_chart({"A": 1, "B": 1, "C": 2})))
    assert {"1", "25 %", "2", "50 %", "0", "0 %"} <= set(texts)
    svg_of(class_chart({}))


def test_age_chart_needs_a_known_age() -> None:
    assert age_chart({}) is None
    assert age_chart({"A": AgeSummary()}) is None
    picture = age_chart({"A": AgeSummary(mean=67.4, sd=None, median=None), "D": AgeSummary(mean=53, sd=6, median=52)})
    svg_of(picture)
    assert picture is not None
    assert picture.alt.endswith("A: 67, D: 53.")
