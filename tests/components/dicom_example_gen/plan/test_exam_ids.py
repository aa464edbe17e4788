"""Labels that match no file: a hint names the cause, and matches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.dicom.headers.header import ViewHeader
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.exam_ids import label_hints
from components.sources.source import FolderSource
from pipeline.describe import describe_source
from tests.components.dicom.dicom_files import MakeDicom


def hints(exam_id: str, file: str = "x/a.dcm", **ids: Any) -> tuple[str, ...]:
    return label_hints([(file, ViewHeader("CC_R", 1, 1, **ids))], [exam_id])


@pytest.mark.parametrize(
    ("exam_id", "ids", "cause"),
    [
        ("4711", {"accession_number": "00004711"}, "leading zeros, which spreadsheet programs cut off"),
        ("0815", {"patient_id": "815"}, "leading zeros"),
        ("12.0", {"study_id": "12"}, "a .0 behind it"),
        ("1.2.3.0", {"study_uid": "1.2.3"}, "a .0 behind it"),
        ("1E+05", {"file": "100000/a.dcm"}, "an E, as programs shorten long numbers"),
        ("1,25E+05", {"study_id": "125000"}, "an E, as programs shorten long numbers"),
        ("'001", {"file": "001/a.dcm"}, "quotes and apostrophes"),
        ("'1.2.3", {"study_uid": "1.2.3"}, "quotes and apostrophes"),
        ('"E1"', {"file": "E1/a.dcm"}, "quotes and apostrophes"),
        ("Mu\u0308ller_1", {"file": "M\u00fcller_1/a.dcm"}, "accents of another encoding"),
        ("M\u00fcller_1", {"file": "Mu\u0308ller_1/a.dcm"}, "accents of another encoding"),
        ("images/E1", {"file": "E1/a.dcm"}, "folders before it"),
        ("C:\\data\\images\\E1", {"file": "E1/a.dcm"}, "folders before it"),
        ("ph1", {"file": "PH1/a.dcm"}, "upper and lower case"),
        ("PH 0001", {"file": "PH_0001/a.dcm"}, "blanks, hyphens and underscores"),
        ("E1/CC_R.dcm", {"file": "E1/CC_R.dcm"}, "the file's name behind the folder's"),
        ("D:\\data\\E1\\CC_R.dcm", {"file": "E1/CC_R.dcm"}, "the file's name behind the folder's"),
    ],
)
def test_the_cause_is_named(exam_id: str, ids: dict[str, str], cause: str) -> None:
    [hint] = hints(exam_id, **ids)
    assert hint.startswith(f"1 files without label name an exam of the labels but for {cause}")
    assert exam_id not in hint


@pytest.mark.parametrize(
    ("exam_id", "ids"),
    [
        ("1", {"study_id": "10"}),
        ("0", {"study_id": "00"}),
        ("E1", {}),
        ("1.2.3", {"study_uid": "1.2.30"}),
        ("1E5", {"study_id": "1"}),
    ],
)
def test_different_identifiers_give_no_hint(exam_id: str, ids: dict[str, str]) -> None:
    assert hints(exam_id, **ids) == ()


def test_describe_names_the_cause(tmp_path: Path, make_dicom: MakeDicom) -> None:
    make_dicom("images/1/a.dcm", AccessionNumber="000815", StudyID="", PatientID="P")
    labels = tmp_path / "labels.csv"
    labels.write_text("exam_id,density\n815,A\n")
    figures = describe_source(
        FolderSource(tmp_path / "images", labels), IngestConfig(), lambda done, total: None
    ).figures
    assert figures["by_reason"] == {"no_label": 1}
    assert any("but for leading zeros" in warning for warning in figures["warnings"])
