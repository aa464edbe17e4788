"""Images of two women, or of two visits, that differ in one value, under one label; with files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.dicom.remarks import Remark
from schema.features import VIEWS
from tests.components.dicom_example_gen.archive_files import fates, planned, write_image

ALIKE = {
    "PatientID": "ANONYMOUS",
    "PatientName": "ANONYMOUS",
    "PatientBirthDate": "19550101",
    "PatientAge": "060Y",
    "PatientSex": "F",
    "StudyDate": "20150813",
    "AcquisitionTime": "080000",
    "StudyInstanceUID": "1.2.3.4",
    "Manufacturer": "HOLOGIC, Inc.",
    "ManufacturerModelName": "Selenia Dimensions",
}
SIEMENS = {"Manufacturer": "SIEMENS", "ManufacturerModelName": "Mammomat Inspiration"}
OTHER_STUDY = {"StudyInstanceUID": "1.2.3.5"}
HALVES = (VIEWS[:2], VIEWS[2:])


def fate(folder: Path, both: dict[str, Any], other: dict[str, Any], views: tuple[Any, ...] = HALVES) -> set[str]:
    """Write two parts of an exam folder, of which the second differs; return the results of the files."""
    for part, (shown, changes) in enumerate(zip(views, ({}, other), strict=True)):
        for number, view in enumerate(shown):
            tags = ALIKE | both | changes
            write_image(folder / "E" / f"{part}{view}.dcm", view, 10 * part + number, part == 1, **tags)
    return set(fates(planned(folder, {"E": "C"})).values())


@pytest.mark.parametrize("views", [HALVES, (VIEWS, VIEWS)], ids=["halves", "whole"])
@pytest.mark.parametrize(
    ("both", "other"),
    [
        ({}, OTHER_STUDY),
        ({"PatientID": ""}, OTHER_STUDY),
        ({}, {"PatientID": "P1"} | OTHER_STUDY),
        ({}, SIEMENS),
        ({"StudyInstanceUID": None}, SIEMENS),
        ({"StudyInstanceUID": None, "AccessionNumber": "7"}, {"AccessionNumber": "8"}),
        ({"PatientID": "P1", "StudyDate": "20150101"}, OTHER_STUDY),  # cut to the year
        ({"PatientID": "P1", "StudyDate": None}, OTHER_STUDY),
    ],
)
def test_a_birth_date_or_a_truncated_day_joins_nothing(
    tmp_path: Path, both: dict[str, Any], other: dict[str, Any], views: tuple[Any, ...]
) -> None:
    assert fate(tmp_path, both, other, views) == {"several_exams"}


@pytest.mark.parametrize(
    ("both", "other"),
    [
        ({}, {"DeviceSerialNumber": "S2", "StationName": "MG2"}),  # two rooms
        ({"PatientID": "P1"}, SIEMENS),
        ({"PatientID": "P1"}, OTHER_STUDY),
        ({"PatientID": "P1"}, SIEMENS | OTHER_STUDY),
    ],
)
def test_one_woman_stays_one_exam(tmp_path: Path, both: dict[str, Any], other: dict[str, Any]) -> None:
    assert fate(tmp_path, both, other) == {"C"}


@pytest.mark.parametrize(
    ("patient", "study", "names", "expected"),
    [
        ("ANONYMOUS", "1.2", ("ROSSI^MARIA", "VERDI^ANNA"), "mixed_patients"),
        ("", None, ("ROSSI0^A", "ROSSI4^A"), "mixed_patients"),
        ("ANONYMOUS", "1.2", ("ROSSI^MARIA", "Rossi Maria^M"), "C"),
        ("ANONYMOUS", "1.2", ("ROSSI^MARIA", "VERDI^Maria"), "C"),  # who married
        ("ANONYMOUS", "1.2", ("ROSSI^MARIA", "Anonymous"), "C"),
        ("ANONYMOUS", "1.2", ("ROSSI^MARIA", None), "C"),
        ("P1", "1.2", ("ROSSI^MARIA", "VERDI^ANNA"), "C"),
    ],
)
def test_names_without_a_common_part(
    tmp_path: Path, patient: str, study: str | None, names: tuple[Any, Any], expected: str
) -> None:
    both = {"PatientID": patient, "StudyInstanceUID": study, "PatientName": names[0]}
    assert fate(tmp_path, both, {"PatientName": names[1]}) == {expected}


@pytest.mark.parametrize(
    ("same", "other", "expected"),
    [
        ({}, {}, "C"),
        ({}, {"PatientName": "Verdi Maria"}, "C"),
        ({}, {"PatientName": None}, "C"),
        ({"PatientName": "ANONYMOUS"}, {}, "C"),
        ({}, {"PatientName": "VERDI^ANNA"}, "mixed_patients"),
        ({}, {"PatientBirthDate": None}, "mixed_patients"),
        ({}, {"PatientBirthDate": "19550814"}, "mixed_patients"),
        ({"PatientBirthDate": "19550101"}, {}, "mixed_patients"),  # cut to the year
        ({"PatientBirthDate": None}, {}, "mixed_patients"),
        ({}, OTHER_STUDY, "mixed_patients"),
        ({"StudyInstanceUID": None}, {}, "mixed_patients"),
        ({}, SIEMENS, "mixed_patients"),
    ],
)
def test_two_patient_ids_are_one_woman_only_by_further_evidence(
    tmp_path: Path, same: dict[str, Any], other: dict[str, Any], expected: str
) -> None:
    both = {"PatientID": "TEMP1", "PatientName": "ROSSI^MARIA", "PatientBirthDate": "19550813"} | same
    assert fate(tmp_path, both, {"PatientID": "P1"} | other) == {expected}
    accepted = planned(tmp_path, {"E": "C"}).accepted
    assert all(view.remarks == (Remark.CORRECTED_PATIENT_ID,) for view in accepted)
    assert len(accepted) == (4 if expected == "C" else 0)


def test_a_birth_date_that_all_women_have_is_no_evidence(tmp_path: Path) -> None:
    birth = {"PatientBirthDate": "19550813"}
    for exam in ("F", "G"):
        for number, view in enumerate(VIEWS):
            tags = ALIKE | birth | {"PatientID": exam * 3, "StudyInstanceUID": f"1.2.{ord(exam)}"}
            write_image(tmp_path / exam / f"{view}.dcm", view, ord(exam) + number, **tags)
    other = {"PatientID": "P1"}
    assert fate(tmp_path, birth | {"PatientID": "TEMP1"}, other) == {"mixed_patients", "no_label"}
    own = ALIKE | {"PatientID": "FFF", "StudyInstanceUID": "1.2.70", "PatientBirthDate": "19600202"}
    write_image(tmp_path / "F" / "own.dcm", "CC_R", 77, **own)
    assert fate(tmp_path, birth | {"PatientID": "TEMP1"}, other) == {"C", "no_label"}


@pytest.mark.parametrize("views", [VIEWS, VIEWS[:2]])
def test_a_study_for_each_image_stays_one_exam(tmp_path: Path, views: tuple[str, ...]) -> None:
    for number, view in enumerate(views):
        tags = ALIKE | {"StudyInstanceUID": f"1.2.{number}"}
        write_image(tmp_path / "E" / f"{view}.dcm", view, number, **tags)
    assert set(fates(planned(tmp_path, {"E": "C"})).values()) == {"C"}


@pytest.mark.parametrize(
    ("exams", "changes", "expected"),
    [
        (4, {}, {"C"}),
        (4, {"PatientAge": None, "PatientBirthDate": None, "StudyDate": None}, {"C"}),
        (3, {}, {"several_exams"}),  # too few to tell
        (4, {"Manufacturer": "SIEMENS"}, {"several_exams"}),  # the left breasts
        (4, {"PatientBirthDate": "19600202"}, {"mixed_patients"}),
        (4, {"StudyDate": "20160813"}, {"several_exams"}),
    ],
)
def test_folders_show_a_study_for_each_series(
    tmp_path: Path, exams: int, changes: dict[str, Any], expected: set[str]
) -> None:
    stripped = {keyword: None for keyword, value in changes.items() if value is None}
    for exam in range(exams):
        for number, view in enumerate(VIEWS):
            tags = ALIKE | stripped | {"StudyInstanceUID": f"1.2.{exam}.{view[-1] == 'L':d}"}
            tags |= changes if view.endswith("L") else {}
            write_image(tmp_path / f"E{exam}" / f"{view}.dcm", view, 10 * exam + number, **tags)
    result = planned(tmp_path, {f"E{exam}": "C" for exam in range(exams)})
    assert set(fates(result).values()) == expected


def test_two_visits_in_each_folder_are_no_series(tmp_path: Path) -> None:
    for exam in range(5):
        for number, view in enumerate(VIEWS):
            for visit in range(2):
                tags = ALIKE | {"StudyInstanceUID": f"1.2.{exam}.{visit}"}
                write_image(tmp_path / f"E{exam}" / f"{visit}{view}.dcm", view, 20 * exam + 2 * number + visit, **tags)
    result = planned(tmp_path, {f"E{exam}": "C" for exam in range(5)})
    assert set(fates(result).values()) == {"several_exams"}


@pytest.mark.parametrize(
    ("patient", "times", "expected"),
    [
        ("ANONYMOUS", ("235800", "000300"), "C"),
        ("ANONYMOUS", ("200000.5", "0200"), "C"),
        ("ANONYMOUS", ("200000", "020100"), "several_exams"),
        ("P1", ("080000", "080000"), "several_exams"),
        ("ANONYMOUS", (None, None), "several_exams"),
        ("ANONYMOUS", ("235800", None), "several_exams"),
        ("P1", ("23", None), "C"),
    ],
)
def test_a_study_may_continue_past_midnight_for_hours(
    tmp_path: Path, patient: str, times: tuple[Any, Any], expected: str
) -> None:
    evening = {"PatientID": patient, "AcquisitionTime": times[0]}
    assert fate(tmp_path, evening, {"StudyDate": "20150814", "AcquisitionTime": times[1]}) == {expected}
