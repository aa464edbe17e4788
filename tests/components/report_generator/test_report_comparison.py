"""The blocks beside a simple baseline, selective grading, calibration's reason, and the typical segmentations."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from components.report_generator.artifacts import QualityView, ReadEvaluation
from components.report_generator.loading import read_json
from components.report_generator.model_artifacts import ReadCalibration
from components.report_generator.page import Cell, Charts, Note, Table
from components.report_generator.sections.calibration import calibration_section
from components.report_generator.sections.comparison import baseline_blocks, selective_blocks
from components.report_generator.sections.evaluation import evaluation_section, gate_table
from components.report_generator.sections.segmentation import median_uncertainty, typical_views
from components.report_generator.warnings import run_warnings
from components.statistics.calibration import fit_calibration
from tests.components.report_generator.conftest import evaluation_content, grey_baseline
from tests.components.statistics.test_calibration import sample
from tests.known import known


def evaluation(**changes: Any) -> ReadEvaluation:
    return ReadEvaluation.model_validate(evaluation_content() | changes)


@pytest.mark.parametrize(
    ("low", "high", "tone", "words"),
    [
        (0.011, 0.121, "pass", "The network is better than grey statistics"),
        (-0.02, 0.121, "warn", "The network is not shown to be better than grey statistics"),
        (-0.2, -0.01, "fail", "The network is worse than grey statistics"),
    ],
)
def test_one_sentence_says_whether_the_network_is_better(low: float, high: float, tone: str, words: str) -> None:
    grey = grey_baseline()
    grey["gain"]["quadratic_kappa"] = {"value": (low + high) / 2, "ci95": [low, high], "n": 100}
    _, sentence, table = baseline_blocks(evaluation(grey_baseline=grey))
    assert isinstance(sentence, Note)
    assert (sentence.tone, sentence.text.startswith(words)) == (tone, True)
    assert f"95 % interval {low:.3f} to {high:.3f}" in sentence.text
    assert isinstance(table, Table)
    rows = {row[0].text: row for row in table.rows}
    kappa = rows["Quadratic weighted kappa"]
    assert [cell.text for cell in kappa[2:]] == ["0.853", "0.853", "100"]
    recall = rows["Recall of class A"]
    assert (recall[1].text, recall[4].text) == ("+6.2\u00a0%", "12"), "n is the class's"
    assert recall[4].detail == "too few"


def test_without_a_baseline_the_reason_stands_there_and_old_files_say_nothing() -> None:
    grey = {"problem": "too_few_exams", "message": "The train split has 3 exams."}
    _, note = baseline_blocks(evaluation(grey_baseline=grey))
    assert isinstance(note, Note)
    assert (note.tone, "The train split has 3 exams." in note.text) == ("warn", True)
    assert baseline_blocks(evaluation(grey_baseline=None)) == []
    assert selective_blocks(evaluation(selective=())) == []


def test_the_curve_is_two_charts_and_a_table_of_the_same_points() -> None:
    _, charts, table = selective_blocks(evaluation())
    assert isinstance(charts, Charts)
    assert isinstance(table, Table)
    assert [picture.alt.split(" of the most")[0] for picture in charts.pictures] == [
        "Accuracy, four classes",
        "Quadratic weighted kappa",
    ]
    for picture in charts.pictures:
        assert picture.uri is not None
        assert base64.b64decode(picture.uri.partition(",")[2]).startswith(b"<?xml")
    assert [row[0].text for row in table.rows][:3] == ["100\u00a0%", "90\u00a0%", "80\u00a0%"]
    assert table.rows[1][1:4] == (Cell("90"), Cell("0.360"), Cell("83.0\u00a0%", "74.6 to 91.4\u00a0%"))
    assert selective_blocks(evaluation())[1] == charts, "equal data give equal charts"


def test_a_gate_that_warns_is_no_pass_and_a_missed_one_says_by_how_much() -> None:
    gain = {"name": "exam_quadratic_kappa against grey statistics", "slice": "all", "threshold": "interval above +0"}
    missed = {
        "value": 0.04,
        "ci95": [-0.02, 0.1],
        "n": 143,
        "reason": "The model is not shown to be better.",
        "short": 0.02,
    }
    warned = evaluation(gates=[gain | missed | {"verdict": "warning", "passed": True}])
    refused = evaluation(gates=[gain | missed | {"verdict": "failed", "passed": False}])
    assert gate_table(warned).rows[0][-1] == Cell(
        "! missed, warns only", "The model is not shown to be better.", "warn"
    )
    assert gate_table(refused).rows[0][-1].detail == "Missed by 0.020. The model is not shown to be better."
    blocks = evaluation_section(warned, {}).blocks
    assert any(isinstance(block, Table) and "beside a regression" in block.caption for block in blocks)


@pytest.mark.parametrize(("distortion", "word"), [(2.5, "it helps, so it is taken"), (1.0, "so T is 1")])
def test_the_section_says_why_it_is_that_temperature(tmp_path: Path, distortion: float, word: str) -> None:
    fitted = fit_calibration(*sample(150, distortion, seed=2))
    (tmp_path / "calibration.json").write_text(fitted.model_dump_json(), encoding="utf-8")
    calibration = read_json(ReadCalibration, tmp_path / "calibration.json")
    first = calibration_section(calibration, None).blocks[0]
    assert isinstance(first, Note)
    assert word in first.text
    assert f"{fitted.fitted:.3f}" in first.text
    assert ("(T = 1)" in first.text) == (distortion == 1.0)


def view(number: int, doubt: float, drawn: bool, status: str = "removed") -> QualityView:
    overlay = f"overlays/{number}.png" if drawn else None
    values = {"exam_id": f"{number:04d}", "view": "MLO_R", "acquisition_system": "A", "density": "B", "status": status}
    return QualityView.model_validate({**values, "doubt": doubt, "overlay": overlay})


def test_typical_is_near_the_median_of_all_views_not_of_the_drawn_ones() -> None:
    """The most doubtful views are drawn first; their median is no median."""
    doubts = [0.9, 0.9, 0.88, 0.6, *(0.1 + 0.005 * n for n in range(40))]
    views = [view(n, doubt, drawn=doubt > 0.5 or n in (22, 23, 30)) for n, doubt in enumerate(doubts)]
    middle = known(median_uncertainty(views))
    assert middle == pytest.approx(0.1 + 0.005 * 21.5)
    chosen = typical_views(views, 4)
    assert [found.exam_id for found in chosen] == ["0023", "0022", "0030"]
    assert all(abs((found.doubt or 0) - middle) < 0.06 for found in chosen)
    only_doubtful = [view(n, doubt, drawn=doubt > 0.5) for n, doubt in enumerate(doubts)]
    assert typical_views(only_doubtful, 4) == (), "none of the drawn views is typical"
    assert typical_views([], 4) == ()
    craniocaudal = [view(n, 0.0, True, "not_applicable") for n in range(3)]
    assert len(typical_views(craniocaudal, 2)) == 2
    assert median_uncertainty([*craniocaudal, view(9, 0.4, False)]) == 0.4


def test_warned_gates_are_among_the_warnings(full_inputs: Any) -> None:
    from dataclasses import replace

    from components.report_generator.loading import load_artifacts

    gate = {"name": "gain", "slice": "all", "threshold": "", "verdict": "warning", "passed": True, "reason": "No gain."}
    artifacts = replace(load_artifacts(full_inputs), evaluation=evaluation(gates=[gate]))
    assert "No gain." in run_warnings(artifacts, None)
