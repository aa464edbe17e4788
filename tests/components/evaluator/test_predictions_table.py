"""Hostile tables of predictions are refused in one sentence; good ones equal scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from components.evaluator.offline import evaluate_predictions
from components.evaluator.predictions import PredictionsError, read_predictions
from schema.features import DENSITY_CLASSES, VIEWS

HEADER = "exam_id,view,label,p_A,p_B,p_C,p_D"
GOOD = "e1,CC_R,B,0.1,0.7,0.1,0.1"


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "predictions.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("e1,CC,B,0.1,0.7,0.1,0.1", "line 3, column view: received 'CC'; write one of CC_R, CC_L, MLO_R, MLO_L."),
        ("e2,CC_R,E,0.1,0.7,0.1,0.1", "line 3, column label: received 'E'; write one of A, B, C, D."),
        ("e2,CC_R,b,0.1,0.7,0.1,0.1", "line 3, column label: received 'b'; write one of A, B, C, D."),
        (",CC_R,B,0.1,0.7,0.1,0.1", "line 3, column exam_id: received ''; fill it in, or remove the row."),
        ("e2,CC_R,B,0.1,x,0.1,0.1", "line 3, column p_B: received 'x'; write a probability from 0 to 1"),
        ("e2,CC_R,B,0.1,,0.1,0.1", "line 3, column p_B: received ''; write a probability"),
        ("e2,CC_R,B,nan,0.7,0.1,0.1", "line 3, column p_A: received 'nan'; write a probability"),
        ("e2,CC_R,B,0.1,0.7,-0.1,0.3", "line 3, column p_C: received '-0.1'; write a probability"),
        ("e2,CC_R,B,0.1,0.7,0.1,inf", "line 3, column p_D: received 'inf'; write a probability"),
        (
            "e2,CC_R,B,0.1,0.7,0.1,0.2",
            "columns? p_A to p_D: received '0.1, 0.7, 0.1, 0.2'; they sum to 1.1: make it 1.",
        ),
        ("e2,CC_R,B,0,0,0,0", "received '0, 0, 0, 0'; they sum to 0: make it 1."),
        (
            "e1,CC_L,C,0.1,0.7,0.1,0.1",
            "column label: received 'C'; line 2 gives exam 'e1' the class B: an exam has one class.",
        ),
        (GOOD, "column view: received 'CC_R'; exam 'e1' has it in line 2 already: keep one row per view."),
        ("e2,CC_R,B,0.1,0.7,0.1", "column number 7: received '6 values'; the header has 7 columns"),
        (
            'e2,CC_R,B,"0,1",0.7,0.1,0.1',
            "column p_A: received '0,1'; write a probability from 0 to 1, with a decimal point.",
        ),
        ('e2,"CC_R,B,0.1,0.7,0.1,0.1', r"line 3 is not CSV \(unexpected end of data\)"),
    ],
)
def test_a_bad_row_is_named_by_file_line_column_and_value(table: Callable[..., Path], row: str, message: str) -> None:
    with pytest.raises(PredictionsError) as caught:
        read_predictions(table(GOOD, row))
    text = str(caught.value)
    assert text.startswith("predictions.csv line 3")
    assert re.search(message.replace("columns?", "column"), text) or message in text
    assert "\n" not in text


def test_bad_headers_and_empty_tables_are_named(table: Callable[..., Path], tmp_path: Path) -> None:
    cases = {
        "exam_id;view;label": "columns exam_id, view, label, p_A, p_B, p_C, p_D are missing, found exam_id;view;label",
        "exam_id,view,label,p_A,p_B,p_C": "columns p_D are missing",
        f"{HEADER},p_A": "repeat or have no name",
        f"{HEADER},": "repeat or have no name",
        f"{HEADER},density": "column density is computed from others",
        f"{HEADER},age_band,patient_age": "column age_band is computed from others",
    }
    for header, message in cases.items():
        with pytest.raises(PredictionsError, match=r"predictions\.csv line 1: ") as caught:
            read_predictions(table(header=header))
        assert message in str(caught.value)
    with pytest.raises(PredictionsError, match="has a header and no rows"):
        read_predictions(table())
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00e")
    with pytest.raises(PredictionsError, match=r"bytes\.csv is not UTF-8 text"):
        read_predictions(tmp_path / "bytes.csv")
    with pytest.raises(PredictionsError, match="received '0'; line 2 gives exam 'e1' to 'x'"):
        read_predictions(table("x," + GOOD, "0," + GOOD.replace("CC_R", "CC_L"), header="patient_id," + HEADER))
    with pytest.raises(PredictionsError, match="column patient_age: received 'old'; write years"):
        read_predictions(table(GOOD + ",old", header=HEADER + ",patient_age"))


def test_excel_marks_spaces_blank_lines_and_rounding_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    lines = (f"\ufeff{HEADER},patient_age,site", " e1 , CC_R,B,0.333,0.333,0.333,0.0,63,", "", "e1,CC_L,B,1,0,0,0,63,x")
    path.write_text("\r\n".join(lines), encoding="utf-8")
    table = read_predictions(path)
    assert [row.exam_id for row in table.rows] == ["e1", "e1"]
    assert sum(table.rows[0].probabilities) == pytest.approx(1.0, abs=1e-12)
    assert [row.slices for row in table.rows] == [
        {"age_band": "60 to 69", "site": "unknown"},
        {"age_band": "60 to 69", "site": "x"},
    ]


def test_columns_of_too_many_values_are_not_sliced_by(table: Callable[..., Path]) -> None:
    rows = [f"e{i},CC_R,B,0.1,0.7,0.1,0.1,{i},s{i % 2}" for i in range(60)]
    read = read_predictions(table(*rows, header=f"{HEADER},operator,acquisition_system"))
    assert read.slice_columns == ("acquisition_system",)
    assert read.not_sliced == {"operator": 60}
    result = evaluate_predictions(read, draws=100)
    assert [entry["slice"] for entry in result["exam"]] == [
        {},
        {"acquisition_system": "s0"},
        {"acquisition_system": "s0", "density": "B"},
        {"acquisition_system": "s1"},
        {"acquisition_system": "s1", "density": "B"},
        {"density": "B"},
    ]
    assert {"view": "CC_R"} in [entry["slice"] for entry in result["view"]]


def test_figures_of_every_level_equal_scikit_learn(table: Callable[..., Path]) -> None:
    random = np.random.default_rng(6)
    rows, by_exam = [], {}
    for exam in range(60):
        label = int(random.integers(0, 4))
        views = VIEWS[: 3 if exam % 4 == 0 else 4]
        p = random.dirichlet([1.0, 1.0, 1.0, 1.0], len(views)) * 0.6 + 0.4 * np.eye(4)[label]
        by_exam[exam] = (label, dict(zip(views, p, strict=True)))
        for view, row in zip(views, p, strict=True):
            rows.append(f"e{exam},{view},{DENSITY_CLASSES[label]}," + ",".join(f"{x:.17g}" for x in row))
    result = evaluate_predictions(read_predictions(table(*random.permutation(rows))), draws=100)
    sides: dict[str, list[tuple[str, ...]]] = {
        "exam": [VIEWS],
        "breast": [("CC_R", "MLO_R"), ("CC_L", "MLO_L")],
        "view": [(v,) for v in VIEWS],
    }
    for level, groups in sides.items():
        pairs = [
            (label, np.mean([views[v] for v in group if v in views], axis=0))
            for label, views in by_exam.values()
            for group in groups
            if any(v in views for v in group)
        ]
        true, p = np.array([label for label, _ in pairs]), np.array([row for _, row in pairs])
        predicted = p.argmax(1)
        entry = result[level][0]
        assert (entry["slice"], entry["n"]) == ({}, len(pairs))
        assert entry["confusion_matrix"] == sk.confusion_matrix(true, predicted, labels=range(4)).tolist()
        expected = {
            "accuracy": sk.accuracy_score(true, predicted),
            "quadratic_kappa": sk.cohen_kappa_score(true, predicted, weights="quadratic"),
            "macro_auc": sk.roc_auc_score(true, p, multi_class="ovr"),
            "dense_auc": sk.roc_auc_score(true >= 2, p[:, 2:].sum(1)),
            "nll": sk.log_loss(true, p),
        }
        assert {name: entry["metrics"][name]["value"] for name in expected} == pytest.approx(expected, abs=1e-6)
