"""Equal SOP Instance UIDs: a copy, or a broken UID; with files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.dicom.remarks import Remark
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.report import file_rows, summary
from components.sources.source import FolderSource
from pipeline.describe import describe_source
from schema.features import VIEWS
from tests.components.dicom_example_gen.archive_files import fates, planned, write_image

UID = "1.2.3.4"


@pytest.mark.parametrize("implicit", [False, True])
def test_one_uid_for_all_images_rejects_none_and_adds_a_remark(tmp_path: Path, implicit: bool) -> None:
    for exam in "AB":
        for number, view in enumerate(VIEWS):
            seed = 10 * ord(exam) + number
            write_image(tmp_path / exam / f"{view}.dcm", view, seed, implicit, SOPInstanceUID=UID, PatientID=exam)
    result = planned(tmp_path, {"A": "A", "B": "C"})
    assert fates(result) == {f"{e}/{v}.dcm": {"A": "A", "B": "C"}[e] for e in "AB" for v in VIEWS}
    assert {v.remarks for v in result.accepted} == {(Remark.BROKEN_UID,)}
    figures = summary(result, {})
    assert figures["remarks"] == {"broken_uid": 8}
    assert UID not in json.dumps([figures, file_rows(result)])


def test_a_copy_has_the_same_uid_and_pixels(tmp_path: Path) -> None:
    first = write_image(tmp_path / "A" / "1.dcm", "CC_R", 1, SOPInstanceUID=UID)
    shutil.copy(first, tmp_path / "A" / "2.dcm")
    write_image(tmp_path / "A" / "3.dcm", "CC_R", 1, SOPInstanceUID=UID, PatientComments="edited")
    write_image(tmp_path / "A" / "4.dcm", "CC_L", 2, SOPInstanceUID=UID)
    result = planned(tmp_path, {"A": "A"})
    assert fates(result) == {"A/1.dcm": "A", "A/2.dcm": "duplicate", "A/3.dcm": "duplicate", "A/4.dcm": "A"}
    assert all("that of A/1.dcm" in r.message for r in result.rejected)
    assert [v.remarks for v in result.accepted] == [(Remark.BROKEN_UID,)] * 2


def test_four_views_under_one_uid_are_an_exam(tmp_path: Path) -> None:
    for number, view in enumerate(VIEWS):
        write_image(tmp_path / "A" / f"{view}.dcm", view, number, SOPInstanceUID=UID)
    assert len(planned(tmp_path, {"A": "B"}).accepted) == 4


def test_describe_gives_the_same_result(tmp_path: Path) -> None:
    for exam in "AB":
        write_image(tmp_path / "images" / exam / "1.dcm", "CC_R", ord(exam), SOPInstanceUID=UID)
    (tmp_path / "labels.csv").write_text("exam_id,density\nA,A\nB,D\n", encoding="utf-8")
    source = FolderSource(tmp_path / "images", tmp_path / "labels.csv")
    figures = describe_source(source, IngestConfig(), lambda done, count: None).figures
    assert (figures["accepted"], figures["remarks"]) == (2, {"broken_uid": 2})
    assert (figures["exam_by"], figures["label_by"]) == ({"folder level 1": 2}, {"folder level 1": 2})
