from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from components.report_generator.artifacts import QualityView, ReadEvaluation, ReadFigure
from components.report_generator.loading import ReportInputError, load_quality, read_json, read_json_lines
from components.report_generator.model_artifacts import Explanation, Infra, ReadMean
from components.report_generator.pictures import overlay_path, read_thumbnail, thumbnail
from components.report_generator.sections.heat_maps import least_heat, most_wrong, right_and_wrong, typical_explanation
from components.report_generator.sections.segmentation import most_uncertain, typical_views
from components.statistics.intervals import Figure, Mean


def test_error_names_file_key_and_value(tmp_path: Path) -> None:
    path = tmp_path / "infra.json"
    path.write_text(json.dumps({"passed": True, "checks": [{"name": "x", "passed": "perhaps", "seconds": 1}]}))
    with pytest.raises(ReportInputError) as caught:
        read_json(Infra, path)
    assert str(path) in str(caught.value)
    assert "key checks.0.passed" in str(caught.value)
    assert "'perhaps'" in str(caught.value)


def test_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "exam_metrics.json"
    path.write_text(json.dumps({"exam": [], "view": [], "gates": []}))
    with pytest.raises(ReportInputError, match="key blessed: Field required"):
        read_json(ReadEvaluation, path)


def test_absent_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReportInputError, match=r"none\.json cannot be read"):
        read_json(Infra, tmp_path / "none.json")
    path = tmp_path / "broken.json"
    path.write_text('{"passed": tru')
    with pytest.raises(ReportInputError, match=r"broken\.json is not JSON.*character"):
        read_json(Infra, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportInputError, match=r"broken\.json cannot be read"):
        read_json(Infra, path)
    path.write_text("[1]")
    with pytest.raises(ReportInputError, match=r"key \(top level\)"):
        read_json(Infra, path)


def test_json_lines_error_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"views": 1, "by_status": {}, "by_system": {}}')
    good = {"exam_id": "e", "view": "CC_R", "acquisition_system": "s", "density": "A", "status": "removed"}
    lines = [json.dumps(good), "", json.dumps({**good, "doubt": "much"})]
    (tmp_path / "views.jsonl").write_text("\n".join(lines))
    with pytest.raises(ReportInputError, match=r"views\.jsonl line 3: key doubt"):
        load_quality(tmp_path)


def test_json_lines_may_hold_line_separators_inside_strings(tmp_path: Path) -> None:
    record = {"exam_id": "e", "view": "CC_R", "acquisition_system": "a\u2028b", "density": "A", "status": "x"}
    path = tmp_path / "views.jsonl"
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_json_lines(QualityView, path)[0].acquisition_system == "a\u2028b"


def test_nan_counts_as_null_and_unknown_keys_are_ignored() -> None:
    content = json.loads('{"value": NaN, "ci95": [0.1, Infinity], "n": 3, "method": "bootstrap"}')
    assert TypeAdapter(ReadFigure).validate_python(content) == Figure(value=None, ci95=None, n=3)
    mean = {"mean": 0.5, "n": 4, "exams": 2, "method": "bootstrap"}
    assert TypeAdapter(ReadMean).validate_python(mean) == Mean(value=0.5, ci95=None, n=4, exams=2)
    with pytest.raises(ValidationError, match="n\n  Field required"):
        TypeAdapter(ReadFigure).validate_python({"value": 1.0, "ci95": None})


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "overlays/../../x.png"])
def test_overlay_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReportInputError, match="must stay inside"):
        overlay_path(tmp_path, name)


def test_thumbnail_keeps_the_shape_and_never_enlarges(tmp_path: Path) -> None:
    path = tmp_path / "ü.png"
    path.write_bytes(cv2.imencode(".png", np.full((400, 100), 70, np.uint8))[1].tobytes())
    small = read_thumbnail(path, 200)
    assert small is not None
    assert small.shape == (200, 50, 3)
    assert small.dtype == np.uint8
    assert (small == 70).all()
    whole = read_thumbnail(path, 1000)
    assert whole is not None
    assert whole.shape == (400, 100, 3)


def test_a_file_that_is_not_a_picture_returns_none(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    assert thumbnail(path, 100, 80) is None
    path.write_bytes(b"")
    assert thumbnail(path, 100, 80) is None
    path.write_bytes(b"no picture")
    assert thumbnail(path, 100, 80) is None


def _view(index: int, doubt: float | None, status: str = "removed", overlay: bool = True) -> QualityView:
    return QualityView(
        exam_id=f"{index:03d}",
        view="MLO_R",
        acquisition_system="s",
        density="A",
        status=status,
        doubt=doubt,
        overlay="overlays/x.png" if overlay else None,
    )


@given(st.lists(st.none() | st.floats(0, 1), max_size=30), st.integers(0, 10))
def test_most_uncertain_are_the_largest_doubts(doubts: list[float | None], count: int) -> None:
    views = [_view(i, d) for i, d in enumerate(doubts)]
    chosen = [v.doubt for v in most_uncertain(views, count)]
    assert chosen == sorted((d for d in doubts if d), reverse=True)[:count]


def test_views_without_overlay_are_never_chosen() -> None:
    views = [_view(0, 0.9, overlay=False), _view(1, 0.5), _view(2, 0.1)]
    assert [v.exam_id for v in most_uncertain(views, 5)] == ["001", "002"]
    assert [v.exam_id for v in typical_views(views, 5)] == ["001"]
    assert typical_views([], 3) == ()


def test_typical_segmentations_lie_at_the_median_and_prefer_muscle() -> None:
    views = [_view(i, d) for i, d in enumerate((0.0, 0.1, 0.3, 0.8, 0.9))]
    views.append(_view(9, 0.3, status="not_applicable"))
    assert [v.exam_id for v in typical_views(views, 2)] == ["002", "001"]
    assert [v.exam_id for v in typical_views(views[-1:], 2)] == ["009"]


def _explained(index: int, density: str, predicted: str, energy: float, sure: float = 0.7) -> Explanation:
    rest = (1 - sure) / 3
    return Explanation(
        exam_id=f"{index:03d}",
        view="CC_R",
        density=density,
        predicted=predicted,
        probabilities=(sure, rest, rest, rest),
        energy_in_breast=energy,
        overlay="overlays/x.png",
    )


def test_typical_explanation_is_a_right_one_with_the_median_energy() -> None:
    views = [_explained(i, "A", "A", e) for i, e in enumerate((0.2, 0.7, 0.99))]
    views += [_explained(9, "A", "B", 0.6), _explained(10, "B", "B", 0.6)]
    chosen = typical_explanation(views, "A", "CC_R")
    assert chosen is not None
    assert chosen.exam_id == "001"
    only_wrong = typical_explanation(views[3:], "A", "CC_R")
    assert only_wrong is not None
    assert only_wrong.predicted == "B"
    assert typical_explanation(views, "A", "MLO_L") is None


def test_worst_cases_come_first() -> None:
    views = [
        _explained(0, "A", "A", 0.9),
        _explained(1, "A", "B", 0.3, 0.8),
        _explained(2, "A", "B", 0.5, 0.9),
        _explained(3, "D", "A", 0.4, 0.5),
    ]
    assert [v.exam_id for v in most_wrong(views, 3)] == ["003", "002", "001"]
    assert [v.exam_id for v in least_heat(views, 2)] == ["001", "003"]


def test_a_class_shows_its_median_right_case_and_its_worst_wrong_one() -> None:
    views = [_explained(i, "A", "A", e) for i, e in enumerate((0.2, 0.7, 0.99))]
    views += [_explained(7, "A", "B", 0.6), _explained(8, "A", "C", 0.6)]
    right, wrong = right_and_wrong(views)
    assert right is not None
    assert wrong is not None
    assert (right.exam_id, wrong.exam_id) == ("001", "008")
    assert right_and_wrong(views[:1]) == (views[0], None)
    assert right_and_wrong([]) == (None, None)
