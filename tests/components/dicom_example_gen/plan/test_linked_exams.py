"""Exams that several links lead to: a labelled name wins, and different densities reject the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.dicom_example_gen.config import IngestConfig
from components.sources.source import FolderSource
from pipeline.describe import describe_source
from schema.features import VIEWS
from tests.components.dicom.dicom_files import MakeDicom

FILES = len(VIEWS)


@pytest.mark.parametrize(
    ("links", "labels", "accepted", "reasons"),
    [
        ({"A0": "s0", "E0": "s0", "E1": "s1"}, "E0,A\nE1,C\n", 2, {"no_label": FILES}),
        ({"E0": "s0", "Z0": "s0", "E1": "s1"}, "E0,A\nE1,C\n", 2, {"no_label": FILES}),
        ({"E0": "s0", "E1": "s0", "E2": "s1"}, "E0,A\nE1,C\nE2,B\n", 1, {"invalid_label": 2 * FILES}),
        ({"E0": "s0", "E1": "s0", "E2": "s1"}, "E0,A\nE1,A\nE2,B\n", 2, {"duplicate": FILES}),
    ],
)
def test_links_to_one_exam(
    tmp_path: Path, make_dicom: MakeDicom, links: dict[str, str], labels: str, accepted: int, reasons: dict[str, int]
) -> None:
    for number in range(2):
        uid = f"1.2.826.0.1.{number}"
        for place, view in enumerate(VIEWS):
            make_dicom(
                f"store/s{number}/{view}.dcm",
                ViewPosition=view[:-2],
                ImageLaterality=view[-1],
                StudyInstanceUID=uid,
                SOPInstanceUID=f"{uid}.{place}",
                AccessionNumber="",
                StudyID="",
                PatientID=f"PAT{number}",
            )
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for name, target in links.items():
        (cohort / name).symlink_to(tmp_path / "store" / target)
    (tmp_path / "labels.csv").write_text("exam_id,density\n" + labels)
    figures = describe_source(
        FolderSource(cohort, tmp_path / "labels.csv"), IngestConfig(), lambda done, total: None
    ).figures
    assert figures["found"] == len(links) * FILES
    assert (figures["accepted"], figures["by_reason"]) == (accepted * FILES, reasons)
