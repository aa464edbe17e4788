"""Exams found, kept and left out, and rows that contradict each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import ManifestError, Rejection
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import IngestPlan
from components.dicom_example_gen.plan.planning import InspectedFile, plan
from components.dicom_example_gen.report import exam_counts, summary
from components.sources.candidates import Candidate, Label
from components.sources.labels import read_labels
from components.sources.source import ManifestSource, find_candidates
from components.sources.tables import RowProblem
from schema.acquisition import AcquisitionSystem
from schema.features import VIEWS

GE, IMS = (AcquisitionSystem(name, "x", "1") for name in ("GE", "IMS"))
BAD_ROW = RowProblem(Reason.INVALID_LABEL, "labels.csv line 3, column density", "Z", "A to D is allowed")


def planned(outcomes: list[InspectedFile], labels: dict[str, Label | RowProblem]) -> IngestPlan:
    return plan(outcomes, labels, IngestConfig(), b"key")


def read(file: str, view: str = "CC_R", **header: Any) -> InspectedFile:
    return InspectedFile(Candidate(file), ViewHeader(view=view, rows=9, columns=9, **header))


def broken(file: str, reason: Reason = Reason.TRUNCATED) -> InspectedFile:
    return InspectedFile(Candidate(file), rejection=Rejection(reason, file, "file", "short", "send again"))


def test_every_exam_is_kept_or_left_out_for_one_reason() -> None:
    labels: dict[str, Label | RowProblem] = {name: Label(name, "B") for name in ("E1", "E2", "E3", "E9")}
    labels |= {"E4": BAD_ROW, "E8": BAD_ROW}
    outcomes = [
        *(read(f"E1/{view}", view, system=GE) for view in VIEWS),
        read("E2/a", "CC_R", system=IMS),  # kept with one view of four
        broken("E2/b"),
        broken("E2/c", Reason.UNKNOWN_VIEW),
        broken("E3/a"),  # only its folder tells the exam
        broken("E3/b"),
        broken("E3/c", Reason.MULTI_FRAME),
        read("E4/a", system=GE),  # a bad row in the labels
        broken("E4/b"),
        read("x/a", study_uid="S5", system=GE),  # in no labels
        read("y/b", study_uid="S5", system=GE),
        broken("README"),  # of no exam
    ]
    result = planned(outcomes, labels)
    counts = exam_counts(result)
    assert counts == {
        "exams_found": 5,
        "exams_kept": 2,
        "exams_left_out": {"invalid_label": 1, "no_label": 1, "truncated": 1},
        "exams_found_by_class": {"A": 0, "B": 3, "C": 0, "D": 0, "unknown": 2},
        "incomplete_exams": 1,
        "incomplete_by_reason": {"truncated": 1, "unknown_view": 1},
        "systems": {
            "GE x 1": {"original": 3, "exams": 1, "views": 4},
            "IMS x 1": {"original": 1, "exams": 1, "views": 1},
            "unknown": {"original": 1, "exams": 0, "views": 0},
        },
        "files_without_exam": 1,
    }
    # E9 has a sound row and no file; the bad row of E8 is no exam that is missed.
    assert (result.labels_without_files, result.bad_labels) == (1, 2)


def test_exams_of_invalid_rows_are_counted(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("exam_id,view,file,density\nE1,ML,a.png,A\nE1,CC_R,../b.png,A\nE2,CC_R,c.png,Z\n")
    offered = find_candidates(ManifestSource(manifest))
    result = planned([InspectedFile(c, rejection=c.rejection) for c in offered.found], {})
    figures = summary(result, {})
    assert figures["exams_found"] == 2
    assert figures["exams_left_out"] == {"invalid_label": 1, "unsafe_path": 1}
    assert figures["files_without_exam"] == 0
    assert "E1" not in json.dumps(figures)


def rows_of(*rows: tuple[str, str, str]) -> IngestPlan:
    """Return rows of file, view and density; each density has one exam."""
    outcomes = []
    for line, (file, view, density) in enumerate(rows, start=2):
        label = Label(f"exam {density}", density)
        outcomes.append(InspectedFile(Candidate(file, line, view, label), ViewHeader(view=view, rows=9, columns=9)))
    return planned(outcomes, {})


def test_a_file_with_two_densities_has_none() -> None:
    result = rows_of(("a.png", "CC_R", "A"), ("a.png", "CC_R", "B"), ("b.png", "CC_L", "A"))
    assert [view.file for view in result.accepted] == ["b.png"]
    assert [(r.file, r.reason, r.value) for r in result.rejected] == [("a.png", Reason.INVALID_LABEL, "A and B")] * 2


def test_a_file_with_two_views_has_none() -> None:
    result = rows_of(("a.png", "CC_R", "A"), ("a.png", "CC_L", "A"))
    assert [(r.file, r.reason) for r in result.rejected] == [("a.png", Reason.INVALID_ROW)] * 2


def test_a_file_in_two_equal_rows_counts_once() -> None:
    result = rows_of(("a.png", "CC_R", "A"), ("a.png", "CC_R", "A"))
    assert len(result.accepted) == 1
    assert [r.reason for r in result.rejected] == [Reason.DUPLICATE]


COLUMNS = {
    "Exam_ID": ["E1", "E2", None],
    "density": [1.0, 3.0, 2.0],
    "age": [50, None, 40],
    "split": ["train+eval", None, ""],
}


def test_parquet_gives_the_same_result_as_csv(tmp_path: Path) -> None:
    table = pd.DataFrame(COLUMNS)
    table.to_parquet(tmp_path / "labels.parquet")
    table.to_csv(tmp_path / "labels.csv", index=False)
    expected = {"E1": Label("E1", "A", age=50, split="train+eval"), "E2": Label("E2", "C")}
    assert read_labels(tmp_path / "labels.parquet")[0] == read_labels(tmp_path / "labels.csv")[0] == expected
    table["density"] = ["A", "Z", "B"]
    table.to_parquet(tmp_path / "bad.parquet")
    problem = read_labels(tmp_path / "bad.parquet")[0]["E2"]
    assert isinstance(problem, RowProblem)
    assert (problem.where, problem.value) == ("bad.parquet row 2, column density", "Z")


def test_parquet_manifest_and_its_errors(tmp_path: Path) -> None:
    rows = {"exam_id": [7, 7], "view": ["CC_R", "CC_L"], "file": ["a.png", "b.png"], "density": ["A", "A"]}
    path = tmp_path / "manifest.parquet"
    pd.DataFrame(rows).to_parquet(path)
    assert [c.label for c in find_candidates(ManifestSource(path)).found] == [Label("7", "A")] * 2
    pd.DataFrame({"exam_id": ["E"]}).to_parquet(path)
    with pytest.raises(ManifestError, match="columns density, file, view are missing"):
        find_candidates(ManifestSource(path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ManifestError, match="Parquet file is damaged"):
        find_candidates(ManifestSource(path))
