"""Results that replace earlier ones are valid by dciodvfy, and highdicom reads what they name."""

from __future__ import annotations

from pathlib import Path

from highdicom.ko import KeyObjectSelectionDocument
from pydicom import dcmread
from pydicom.dataset import Dataset

from serving.client.grading import ExamRefusedError, GradedExam
from serving.dicom_results import build_refusal, build_results, write_results
from tests.serving.dicom_results.test_dicom_results import CONFIG, errors_of, exam  # noqa: F401  # a fixture


def texts_of(item: Dataset) -> list[str]:
    inner = [text for child in item.get("ContentSequence", ()) for text in texts_of(child)]
    return [str(item.TextValue), *inner] if "TextValue" in item else inner


def test_a_later_result_names_what_it_replaces_and_its_numbers_rise(
    exam: tuple[dict[str, Dataset], GradedExam],  # noqa: F811
    tmp_path: Path,
) -> None:
    first = build_results(*exam, CONFIG)
    assert [item.InstanceNumber for item in first] == [1, 1, 2, 3, 4]
    assert "PredecessorDocumentsSequence" not in first[0]
    *second, note = build_results(*exam, CONFIG, earlier=first)
    assert [item.InstanceNumber for item in second] == [2, 5, 6, 7, 8]
    assert not {item.SOPInstanceUID for item in first} & {item.SOPInstanceUID for item in [*second, note]}
    (study,) = second[0].PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (first[0].StudyInstanceUID, first[0].SeriesInstanceUID)
    assert named.ReferencedSOPInstanceUID == first[0].SOPInstanceUID
    sentence = "This report replaces report 1 of 20260102 030405: images came later or were corrected."
    assert sentence in texts_of(second[0])
    assert [d.SOPInstanceUID for d in build_results(*exam, CONFIG, earlier=first)] == [
        d.SOPInstanceUID for d in [*second, note]
    ]
    third = build_results(*exam, CONFIG, earlier=second)
    assert [item.InstanceNumber for item in third[:-1]] == [3, 9, 10, 11, 12]

    assert note.PatientID == first[0].PatientID
    assert (note.Modality, note.SeriesNumber) == ("KO", 9003)
    title, modifier = note.ConceptNameCodeSequence[0], note.ContentSequence[0]
    assert (title.CodeValue, modifier.ConceptCodeSequence[0].CodeValue) == ("113001", "111220")
    referenced = {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for one in note.CurrentRequestedProcedureEvidenceSequence
        for found in one.ReferencedSeriesSequence
        for item in found.ReferencedSOPSequence
    }
    assert referenced == {(item.SOPClassUID, item.SOPInstanceUID) for item in first}

    paths = write_results(tmp_path / "second", second)
    note.save_as(tmp_path / "note.dcm", enforce_file_format=True)
    assert not [error for path in [*paths, tmp_path / "note.dcm"] for error in errors_of(path)]
    read = KeyObjectSelectionDocument.from_dataset(dcmread(tmp_path / "note.dcm"))
    assert {read.resolve_reference(item.SOPInstanceUID)[2] for item in first} == {i.SOPInstanceUID for i in first}


def test_a_refusal_replaces_a_grade(exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path) -> None:  # noqa: F811
    first = build_results(*exam, CONFIG)
    refusal, note = build_refusal(exam[0], ExamRefusedError("quality_failed", "x"), CONFIG, earlier=first)
    assert refusal.InstanceNumber == 2
    assert len(refusal.PredecessorDocumentsSequence) == 1
    assert any(text.startswith("This report replaces report 1") for text in texts_of(refusal))
    assert note.Modality == "KO"
    (path,) = write_results(tmp_path, [refusal])
    assert not errors_of(path)
