"""The kind of key in a labels file: folders, UIDs, numbers, and ambiguous cases."""

from __future__ import annotations

from typing import Any

import pytest

from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import IngestPlan
from components.dicom_example_gen.plan.planning import InspectedFile, plan
from components.dicom_example_gen.report import file_rows, summary
from components.sources.candidates import Candidate, Label
from schema.features import VIEWS
from tests.components.dicom_example_gen.archive_files import fates

SERIES = ("1", "2", "3", "4")


def image(file: str, view: str, **header: Any) -> InspectedFile:
    return InspectedFile(Candidate(file), ViewHeader(view=view, rows=9, columns=9, sop_uid=f"uid of {file}", **header))


def exam(folder: str, series: tuple[str, ...] = ("",) * 4, **header: Any) -> list[InspectedFile]:
    """Return four views, each in a folder of its series if there are series."""
    return [
        image("/".join(filter(None, (folder, part, f"{view}.dcm"))), view, **header)
        for part, view in zip(series, VIEWS, strict=True)
    ]


def planned(outcomes: list[InspectedFile], **densities: str) -> IngestPlan:
    labels = {name.strip("_"): Label(name.strip("_"), density) for name, density in densities.items()}
    return plan(outcomes, dict(labels), IngestConfig(), b"key")


def by_exam(result: IngestPlan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file, fate in fates(result).items():
        found.setdefault(file.split("/")[0], set()).add(fate)
    return found


@pytest.mark.parametrize("headers", ["studies", "one study", "blank"])
def test_numbered_folders_are_exams_at_the_level_whose_groups_are_exams(headers: str) -> None:
    def tags(number: int) -> dict[str, str]:
        return {"studies": {"study_uid": f"1.2.{number}"}, "one study": {"study_uid": "1.2"}, "blank": {}}[headers]

    outcomes = [o for number in (1, 2, 3, 4) for o in exam(str(number), SERIES, **tags(number))]
    result = planned(outcomes, _1="A", _2="B", _3="C", _4="D")
    assert by_exam(result) == {"1": {"A"}, "2": {"B"}, "3": {"C"}, "4": {"D"}}
    assert {v.label_by for v in result.accepted} == {"folder level 1"}
    assert {v.exam_by for v in result.accepted} == {"study" if headers == "studies" else "folder level 1"}


def test_ambiguous_levels_give_no_label() -> None:
    turned = [SERIES[number:] + SERIES[:number] for number in range(4)]
    outcomes = [o for number in range(4) for o in exam(str(number + 1), turned[number])]
    result = planned(outcomes, _1="A", _2="B", _3="C", _4="D")
    assert set(fates(result).values()) == {"ambiguous_label"}
    assert "folder level 1 and folder level 2 is different exams of the labels; name the" in result.rejected[0].message
    paths = planned(outcomes, **{"1/1": "A", "1/2": "A"})  # a path says which
    assert {f: d for f, d in fates(paths).items() if d == "A"} == {"1/1/CC_R.dcm": "A", "1/2/CC_L.dcm": "A"}
    assert {v.label_by for v in paths.accepted} == {"folder path"}


def test_a_series_folder_is_no_exam_because_its_number_is_labelled() -> None:
    """The exams' own names are in no row; series 1 of three exams is not one exam."""
    outcomes = [o for name in ("a", "b", "c") for o in exam(name, SERIES)]
    assert set(fates(planned(outcomes, _1="A", _2="B")).values()) == {"ambiguous_label", "no_label"}


def test_a_study_id_that_all_exams_have_labels_none() -> None:
    outcomes = [o for name in "1234" for o in exam(name, study_id="1", patient_id="ANONYMOUS")]
    result = planned(outcomes, _1="A", _2="B", _3="C")
    assert by_exam(result) == {"1": {"A"}, "2": {"B"}, "3": {"C"}, "4": {"no_label"}}
    one = planned(outcomes, _1="A")
    assert by_exam(one) == {"1": {"A"}, "2": {"no_label"}, "3": {"no_label"}, "4": {"no_label"}}


def test_an_accession_number_that_all_exams_have_labels_none() -> None:
    outcomes = [
        *(image(f"1/{view}.dcm", view, accession_number="1") for view in ("CC_R", "MLO_R")),
        *(image(f"2/{view}.dcm", view, accession_number="1") for view in ("CC_L", "MLO_L")),
    ]
    assert by_exam(planned(outcomes, _1="A")) == {"1": {"A"}, "2": {"no_label"}}


def test_conflicting_numbers_of_patients_and_folders_give_no_label() -> None:
    outcomes = [o for f, p in (("1", "3"), ("2", "1"), ("3", "2")) for o in exam(f, study_uid=f"1.2.{f}", patient_id=p)]
    result = planned(outcomes, _1="A", _2="B", _3="C")
    assert set(fates(result).values()) == {"ambiguous_label"}


def test_a_patient_with_two_exams_and_one_label_is_rejected() -> None:
    def of(year: str, **header: Any) -> list[InspectedFile]:
        return exam(f"P1/{year}", patient_id="P1", study_uid=f"1.2.{year}", **header)

    dated = planned([*of("2015", acquired_at="20150813"), *of("2019", acquired_at="20190813")], P1="C")
    assert {(r.reason, r.tag, r.value) for r in dated.rejected} == {
        (Reason.SEVERAL_EXAMS, "Study Date (0008,0020)", "2 days")
    }
    stripped = planned([*of("2015"), *of("2019")], P1="C")
    assert {r.tag for r in stripped.rejected} == {"Study Instance UID (0020,000D)"}
    assert not stripped.accepted
    one = planned(of("2015", acquired_at="20150813"), P1="C")
    assert len(one.accepted) == 4


def test_a_key_that_a_stronger_one_divides_does_not_apply_further() -> None:
    outcomes = [*exam("x", patient_id="P1", study_uid="1.2.15"), *exam("y", patient_id="P1", study_uid="1.2.19")]
    result = planned(outcomes, P1="A", **{"1.2.15": "C"})
    assert by_exam(result) == {"x": {"C"}, "y": {"no_label"}}


def test_tables_by_study_and_by_folder_work_together() -> None:
    outcomes = [*exam("x", study_uid="1.2.1"), *exam("E2", study_uid="1.2.2"), *exam("z", study_uid="1.2.3")]
    result = planned(outcomes, E2="B", **{"1.2.1": "A"})
    assert by_exam(result) == {"x": {"A"}, "E2": {"B"}, "z": {"no_label"}}
    assert summary(result, {})["label_by"] == {"folder level 1": 4, "study": 4}


def test_exams_at_different_depths_have_their_own_folders() -> None:
    outcomes = [*exam("E1"), *exam("site/E2"), *exam("site/more/E3", SERIES)]
    result = planned(outcomes, E1="A", E2="B", E3="C")
    assert {v.density for v in result.accepted} == {"A", "B", "C"}
    assert len(result.accepted) == 12


def test_a_study_with_two_densities_is_rejected() -> None:
    outcomes = exam("x", ("cc", "cc", "mlo", "mlo"), study_uid="1.2.3")
    result = planned(outcomes, cc="A", mlo="D")
    assert {(r.reason, r.tag) for r in result.rejected} == {(Reason.AMBIGUOUS_LABEL, "Study Instance UID (0020,000D)")}


def test_rows_name_the_kind_of_key_and_no_identity() -> None:
    result = planned(exam("x", study_uid="1.2.333", patient_id="MRN7"), MRN7="B")
    assert {(row["exam_by"], row["label_by"]) for row in file_rows(result)} == {("study", "patient id")}
    assert "1.2.333" not in str(file_rows(result))
    assert "MRN7" not in str(file_rows(result))


def test_a_folder_that_holds_a_part_of_a_study_is_a_series() -> None:
    result = planned(exam("2", SERIES, study_uid="1.2"), _1="A")
    assert by_exam(result) == {"2": {"no_label"}}
    labelled = planned([*exam("1", SERIES, study_uid="1.1"), *exam("2", SERIES, study_uid="1.2")], _1="A")
    assert by_exam(labelled) == {"1": {"A"}, "2": {"no_label"}}


def test_levels_that_agree_by_chance_give_no_label() -> None:
    outcomes = [o for a in "12" for b in "12" for o in exam(f"{a}/{b}", study_uid=f"1.{a}.{b}", patient_id=f"P{a}")]
    assert by_exam(planned(outcomes, _1="A", _2="C")) == {"1": {"ambiguous_label"}, "2": {"ambiguous_label"}}
