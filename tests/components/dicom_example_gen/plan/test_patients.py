"""Patients of exams: no patient is in two splits, and an ID of all exams identifies nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from components.dicom.headers.header import ViewHeader
from components.dicom_example_gen.plan.copies import LabelledFile
from components.dicom_example_gen.plan.patients import Patients, patients_of
from components.exams.census import take_census
from components.exams.evidence import is_placeholder
from components.sources.candidates import Label


def found(exams: dict[str, Sequence[str]], named: str = "") -> Patients:
    """The patients of exams whose images have these Patient IDs; each exam is a study of two views."""
    views = {
        exam: [
            LabelledFile(
                f"{exam}/{view}", ViewHeader(view, 9, 9, study_uid=f"1.2.{exam}", patient_id=patient), label, "row"
            )
            for view, patient in zip(("CC_R", "CC_L"), [*identifiers, *identifiers][:2], strict=True)
        ]
        for exam, identifiers in exams.items()
        for label in [Label(exam, "A", patient_id=named)]
    }
    return patients_of(views, take_census(v.header for images in views.values() for v in images))


def test_exams_of_one_patient_id_are_one_patient() -> None:
    assert found({"E1": ["P1"], "E2": ["P1"], "E3": ["P2"]}).of == {"E1": "P1", "E2": "P1", "E3": "P2"}


def test_a_corrected_id_joins_the_exams_of_both_ids() -> None:
    patients = found({"E1": ["P1"], "E2": ["P1", "P2"], "E3": ["P2"], "E4": ["P4"]}).of
    assert patients["E1"] == patients["E2"] == patients["E3"] != patients["E4"]


@pytest.mark.parametrize("name", ["ANONYMOUS", "", "0", "Anon^Patient", "XXXX", "seventeen"])
def test_an_id_of_all_exams_does_not_identify_a_patient(name: str) -> None:
    patients = found({f"E{number}": [name] for number in range(5)})
    assert len(set(patients.of.values())) == 5
    assert patients.warning is not None
    assert patients.warning.startswith("5 of 5 exams name no patient")
    assert name not in patients.warning or not name.isalpha() or name == ""


def test_the_table_overrides_the_patients_of_the_headers() -> None:
    patients = found({"E1": ["ANONYMOUS"], "E2": ["P7"]}, named="P9")
    assert (set(patients.of.values()), patients.warning) == ({"P9"}, None)


def test_numbers_and_codes_are_valid_ids() -> None:
    assert not any(map(is_placeholder, ("1", "P0001", "ANON0017", "1.2.3", "Patient 7", "A", "7f3c")))
    assert all(map(is_placeholder, ("", " ", "00", "N/A", "unknown", "De-Identified", "REMOVED", "***", "no-id")))
