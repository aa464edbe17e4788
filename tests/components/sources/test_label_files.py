"""Label files in the forms of spreadsheets and registries, each as bytes on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from components.dicom.rejections import ManifestError, RejectionReason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.exam_ids import with_whole_ids
from components.dicom_example_gen.plan.planning import inspect, plan
from components.sources.candidates import Label
from components.sources.labels import parse_label_age, read_labels
from components.sources.source import FolderSource, ManifestSource, find_candidates
from components.sources.tables import RowProblem
from tests.components.dicom.dicom_files import MakeDicom

PLAIN = {"E1": Label("E1", "A"), "E2": Label("E2", "D")}


def labels_of(folder: Path, data: bytes | str) -> tuple[dict[str, Label | RowProblem], tuple[str, ...]]:
    path = folder / "labels.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_labels(path)


@pytest.mark.parametrize(
    "data",
    [
        b"exam_id,density\nE1,A\nE2,D\n",
        b"\xef\xbb\xbfexam_id,density\r\nE1,A\r\nE2,D",
        b"sep=;\r\nexam_id;density\r\nE1;A\r\nE2;D\r\n",
        b'\xef\xbb\xbf"sep=,"\nexam_id,density\nE1,A\nE2,D\n',
        b"sep=\t\nexam_id\tdensity\nE1\tA\nE2\tD\n",
        b'"Exam ID";"Density"\r\n"E1";"A"\r\n"E2";"D"\r\n',
        b'"density, by ACR";"exam_id";"density"\n;E1;A\n;E2;D\n',
        b"exam_id|density\nE1|A\nE2|D\n",
        b"exam_id,density,,\nE1,A,,\n,,,\nE2,D,,\n\n\n",
        b"\n\n,,\nexam_id,density\nE1,A\n \nE2,D\n",
        b"EXAM-ID , Density \r E1 , a \r E2 , d \r",
        "exam_id\tdensity\r\nE1\tA\r\nE2\tD\r\n".encode("utf-16"),
    ],
)
def test_dialects(tmp_path: Path, data: bytes) -> None:
    assert labels_of(tmp_path, data) == (PLAIN, ())


def test_columns_that_are_not_read_may_repeat(tmp_path: Path) -> None:
    assert labels_of(tmp_path, "note,exam_id,Note,,density,note\nx,E1,y,,A,z\n,E2,,,D,\n") == (PLAIN, ())
    labels, _ = labels_of(tmp_path, "note,exam_id,Note,density\nx,E1,y,A,B\n")
    assert isinstance(labels["E1"], RowProblem)
    assert labels["E1"].value == "5 cells"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("exam_id,density\nE1,A\nM\xfcller,B\n".encode("cp1252"), r'first at line 3: .*Windows-1252.*"CSV UTF-8"'),
        (b"PK\x03\x04rest", "a workbook of a spreadsheet program"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel workbook"),
        (b"\x1f\x8brest", "compressed by gzip"),
        (b"exam_id,density_right\nE1,A\n", "columns density are missing"),
        (b"exam_id,density,Density\nE1,A,B\n", "columns density repeat"),
        (b"exam_id,density,age,note,Age,Note\nE1,A,1,x,2,x\n", "columns age repeat"),
        (b"exam_id,density\nE1,0\nE2,3\n", "labels.csv: column density contains 0 in 1 rows"),
    ],
)
def test_unreadable_tables_name_the_reason(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        labels_of(tmp_path, data)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *[("63.5", 63), ("51,0", 51), ("44 ", 44), ("82y", 82), ("045Y", 45), ("45 years", 45), ("540M", 45)],
        *[("95", 90), ("90+", 90), (">89", 90), ("0", 0), ("40 yrs", 40), ("61 years old", 61)],
        *[("old", -1), ("-3", -1), ("121", -1), ("60-69", -1), ("1e2", -1), ("1960", -1), ("12.03.1960", -1), ("", -1)],
    ],
)
def test_ages(text: str, years: int) -> None:
    assert parse_label_age(text) == years


def test_a_wrong_age_does_not_reject_a_label(tmp_path: Path) -> None:
    rows = 'E1,A,63.5\nE2,B,"51,0"\nE3,C,44 \nE4,D,82y\nE5,A,old\nE6,B,\n'
    labels, warnings = labels_of(tmp_path, "exam_id,density,age\n" + rows)
    assert [(label.density, label.age) for label in labels.values() if isinstance(label, Label)] == [
        *[("A", 63), ("B", 51), ("C", 44), ("D", 82)],
        *[("A", -1), ("B", -1)],
    ]
    assert warnings == (
        "labels.csv: age is no age in years in 1 rows (first labels.csv line 6); the DICOM header's age is used there.",
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("exam_id,age,density,note\nE1,51,3,A,x\nE2,52,A,x\n", "5 cells"),
        ("exam_id,note,density,age\nE1,x,C,A,63\nE2,x,A,52\n", "5 cells"),  # the note "x,C" before density A
        ("exam_id,note,density,age\nE1,x,C,A,\nE2,x,A,52\n", "5 cells"),
        ("exam_id,density,age\nE1,1,5,63\nE2,A,52\n", "4 cells"),
        ("exam_id,density,age\nE1,B,51,0\nE2,A,52\n", "4 cells"),
        ('exam_id,note,density,age\nE1,"large,A,63\nE9,x",C,50\nE2,x,A,52\n', "a cell over several lines"),
        ('exam_id,density,age,note\nE1,A,63,"large\nE9,B,50,x"\nE2,A,52,x\n', "a cell over several lines"),
        ('exam_id,note,density,age\nE1,"large,A,63\nE8,x,D,1\nE9,x",C,50\nE2,x,A,52\n', "a cell over several lines"),
    ],
)
def test_a_row_whose_cells_are_shifted_labels_nothing(tmp_path: Path, text: str, value: str) -> None:
    labels, _ = labels_of(tmp_path, text)
    problem = labels["E1"]
    assert isinstance(problem, RowProblem)
    assert (problem.reason, problem.value) == (RejectionReason.INVALID_ROW, value)
    assert {exam: label for exam, label in labels.items() if exam != "E1"} == {"E2": Label("E2", "A", age=52)}


@pytest.mark.parametrize(
    "text",
    [
        'exam_id,note,density\nE1,"large,A\nE2,"x,D\n',
        'exam_id,note,density\nE1,"large,A\nE2,x,D\n',
        'exam_id,note,density\nE1,"large" mass,A\nE2,x,D\n',
    ],
)
def test_unclosed_quotes_stop_the_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError, match=r"line [23] is not valid CSV"):
        labels_of(tmp_path, text)


def test_cells_with_line_ends_separators_and_quotes(tmp_path: Path) -> None:
    text = 'exam_id,note,density\nE1,"mass, left\r\nfollow up\nin ""May""",A\nE2,5" lesion,D\n'
    assert labels_of(tmp_path, text)[0] == PLAIN
    assert labels_of(tmp_path, "exam_id,density\nE1,A,,\nE2,D,,\n")[0] == PLAIN  # separators behind every row


def test_rows_that_differ_in_age_are_no_conflict(tmp_path: Path) -> None:
    labels, [warning] = labels_of(tmp_path, "exam_id,density,age\nE1,A,50\nE1,A,51\nE2,B,40\nE2,B,\nE2,,40\n")
    assert labels == {"E1": Label("E1", "A"), "E2": Label("E2", "B", age=40)}
    assert "differ in age in 1 exams" in warning


def test_rows_that_differ_in_density_patient_or_split_are_conflicts(tmp_path: Path) -> None:
    text = "exam_id,density,patient_id,split\nE1,A,,\nE1,B,,\n"
    text += "E2,A,P1,\nE2,A,P2,\nE3,A,,train\nE3,A,,test\nE4,A,,\nE4,Z,,\n"
    labels, _ = labels_of(tmp_path, text)
    reasons = [(problem.reason.value, problem.where) for problem in labels.values() if isinstance(problem, RowProblem)]
    assert reasons == [
        ("invalid_label", "labels.csv line 3, column density"),
        ("invalid_row", "labels.csv line 5, column patient_id"),
        ("invalid_row", "labels.csv line 7, column split"),
        ("invalid_label", "labels.csv line 9, column density"),
    ]
    assert "P1" not in str(labels["E2"])


@pytest.mark.parametrize(
    "text",
    [
        "exam_id,density,side\nE1,A,L\nE1,C,R\nE2,B,left\nE2,B,right\n",
        "exam_id,density,Laterality\nE1,A,LEFT\nE1,C,RIGHT\nE1,C,\nE2,B,both\n",
        "exam_id,density_left,density_right\nE1,A,C\nE2,B,\n",
        "exam_id,density_left,density_right,density\nE1,A,3,C\nE2,B,B,\n",
    ],
)
def test_the_exam_has_the_density_of_the_denser_breast_with_a_warning(tmp_path: Path, text: str) -> None:
    labels, warnings = labels_of(tmp_path, text)
    assert labels == {"E1": Label("E1", "C"), "E2": Label("E2", "B")}
    assert (
        "labels.csv: the breasts of 1 exams differ in density; these exams have that of the denser breast." in warnings
    )


def test_breasts_that_contradict_themselves_are_conflicts(tmp_path: Path) -> None:
    text = "exam_id,density,side\nE1,A,L\nE1,B,L\nE2,A,\nE2,B,L\nE3,A,Q\n"
    labels, _ = labels_of(tmp_path, text)
    assert [problem.reason.value for problem in labels.values() if isinstance(problem, RowProblem)] == [
        "invalid_label",
        "invalid_label",
        "invalid_row",
    ]


def test_identifiers_that_a_spreadsheet_turned_into_numbers(tmp_path: Path) -> None:
    labels, [warning] = labels_of(tmp_path, "exam_id,density\n2.25E+38,A\n1e7ab,B\n4E12,D\n")
    problem = labels["2.25E+38"]
    assert isinstance(problem, RowProblem)
    assert "a spreadsheet cut off its digits" in problem.allowed
    assert labels["1e7ab"] == Label("1e7ab", "B")  # a hash may look nearly so
    assert labels["4E12"] == Label("4E12", "D")
    assert "such as 2.25E+38, in 1 rows (first labels.csv line 2)" in warning


def whole(labels: dict[str, Label | RowProblem], *known: str) -> dict[str, Label | RowProblem]:
    return dict(with_whole_ids(labels, lambda: known))


def test_a_column_of_numbers_with_fractions_is_read_as_whole_numbers(tmp_path: Path) -> None:
    labels, [warning] = labels_of(tmp_path, "exam_id,density\n1.0,A\n20.0,D\n")
    assert labels == {"1.0": Label("1.0", "A"), "20.0": Label("20.0", "D")}
    assert whole(labels, "1", "20", "3") == {"1": Label("1", "A"), "20": Label("20", "D")}
    assert "every exam_id ends in .0" in warning
    frame = pd.DataFrame({"exam_id": [1.0, 20.0], "density": ["A", "D"]})
    frame.to_parquet(tmp_path / "labels.parquet")
    assert read_labels(tmp_path / "labels.parquet")[0] == labels
    mixed, none = labels_of(tmp_path, "exam_id,density\n1.0,A\n1,B\n")  # two exams, as far as anyone can tell
    assert (whole(mixed, "1"), none) == (mixed, ())


def test_one_number_written_in_two_ways_is_one_exam(tmp_path: Path) -> None:
    labels, _ = labels_of(tmp_path, "exam_id;density\n1.0;B\n1,0;D\n2.0;A\n2,0;A\n3,0;C\n")
    found = whole(labels, "1", "2", "3")
    assert sorted(found) == ["1", "2", "3"]
    problem = found["1"]
    assert isinstance(problem, RowProblem)
    assert (problem.reason, problem.where) == (RejectionReason.INVALID_LABEL, "labels.csv line 3, column density")
    assert (found["2"], found["3"]) == (Label("2", "A"), Label("3", "C"))


@pytest.mark.parametrize(
    ("folders", "ids", "labelled"),
    [
        (("1", "1.0", "2", "2.0"), {}, {"1.0/a.dcm": "C", "2.0/a.dcm": "B"}),
        (("1", "2", "2.0"), {}, {"2.0/a.dcm": "B"}),
        (("1", "2", "3"), {}, {"1/a.dcm": "C", "2/a.dcm": "B"}),
        (("1", "2", "3"), {"3": "2.0"}, {"3/a.dcm": "B"}),
    ],
)
def test_an_identifier_in_the_archive_keeps_its_fraction(
    tmp_path: Path, make_dicom: MakeDicom, folders: tuple[str, ...], ids: dict[str, str], labelled: dict[str, str]
) -> None:
    for number, folder in enumerate(folders):
        uid = f"1.2.826.0.1.{number}"
        make_dicom(
            f"images/{folder}/a.dcm",
            StudyInstanceUID=uid,
            SOPInstanceUID=f"{uid}.1",
            AccessionNumber=ids.get(folder, ""),
            StudyID="",
            PatientID=f"P{number}",
        )
    (tmp_path / "labels.csv").write_text("exam_id,density\n1.0,C\n2.0,B\n")
    offered = find_candidates(FolderSource(tmp_path / "images", tmp_path / "labels.csv"))
    outcomes = [inspect(candidate, offered.root, 1 << 22) for candidate in offered.found]
    planned = plan(outcomes, offered.labels, IngestConfig(), b"key")
    assert {view.file: view.density for view in planned.accepted} == labelled
    assert {rejection.reason.value for rejection in planned.rejected} == {"no_label"}
    assert len(planned.rejected) + len(planned.accepted) == len(folders)


def test_texts_in_the_form_of_a_formula(tmp_path: Path) -> None:
    labels, _ = labels_of(tmp_path, 'exam_id,density\n="00123",A\n"=""0077""",D\n="",B\n')
    assert labels == {"00123": Label("00123", "A"), "0077": Label("0077", "D")}


def test_digits_that_a_spreadsheet_cut_off_give_a_warning(tmp_path: Path) -> None:
    _, [warning] = labels_of(tmp_path, "exam_id,density\n1234567890123450000,A\n2234567890123450000,B\n")
    assert "2 exam_id have more than 15 digits and end in zeros" in warning


def test_cells_that_programs_write_for_empty_ones_are_empty(tmp_path: Path) -> None:
    labels, warnings = labels_of(tmp_path, "exam_id,density,age\nE1,A,nan\nE1,NaN,50\nE2,#N/A,\nE2,D,None\nE3,NULL,\n")
    assert {exam: label for exam, label in labels.items() if exam != "E3"} == PLAIN | {"E1": Label("E1", "A")}
    problem = labels["E3"]
    assert isinstance(problem, RowProblem)
    assert (problem.reason, warnings) == (RejectionReason.NO_LABEL, ())


def test_rows_without_exam_are_counted(tmp_path: Path) -> None:
    labels, [warning] = labels_of(tmp_path, "exam_id,density\n,A\nE1,A\n,\n")
    assert list(labels) == ["E1"]
    assert warning == "labels.csv: exam_id is empty in 1 rows (first labels.csv line 2)."


def manifest_of(folder: Path, *lines: str) -> ManifestSource:
    path = folder / "m.csv"
    path.write_text("\n".join(["exam_id,view,file,density,side,age", *lines]) + "\n")
    return ManifestSource(path)


def test_windows_paths(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("images/a.dcm", "images\\unzipped.dcm"):
        (tmp_path / name).write_bytes(b"x")
    files = (
        "images\\a.dcm",
        "images\\unzipped.dcm",
        ".\\images\\gone.dcm",
        "C:\\x\\a.dcm",
        "d:/a.dcm",
        "\\\\srv\\a.dcm",
    )
    found = find_candidates(manifest_of(tmp_path, *(f"E1,CC_R,{file},A,," for file in (*files, "..\\a.dcm"))))
    by_line = {candidate.line: candidate for candidate in found.found}
    assert [by_line[line].file for line in (2, 3, 4)] == ["images/a.dcm", "images\\unzipped.dcm", "images/gone.dcm"]
    refused = [by_line[line].rejection for line in (5, 6, 7, 8)]
    assert [rejection.reason.value for rejection in refused if rejection] == ["unsafe_path"] * 4
    assert ["a path of a Windows machine" in rejection.remedy for rejection in refused if rejection] == [True] * 3 + [
        False
    ]
    assert found.warnings == ("3 files are named with backslashes (first m.csv line 2), which are read as folders.",)


def test_a_manifest_s_densities_by_breast_and_differing_ages(tmp_path: Path) -> None:
    rows = ["E1,CC_R,a,A,R,50", "E1,CC_L,b,C,L,51", "E2,CC_R,c,A,,60", "E2,CC_L,d,B,,60", "E3,CC_R,e,A,L,1"]
    found = find_candidates(manifest_of(tmp_path, *rows))
    assert [(c.label.density, c.label.age) for c in found.found if c.label] == [("C", -1)] * 2 + [("A", 60), ("B", 60)]
    [slipped] = [c.rejection for c in found.found if c.rejection]
    assert (slipped.reason.value, slipped.remedy) == ("invalid_row", "column side says L")
    assert any("the breasts of 1 exams differ" in warning for warning in found.warnings)
    assert any("differ in age in 1 exams" in warning for warning in found.warnings)


def test_a_manifest_of_zeros_needs_values_too(tmp_path: Path) -> None:
    source = manifest_of(tmp_path, "E1,CC_R,a,0,,", "E2,CC_R,b,3,,")
    with pytest.raises(ManifestError, match="contains 0"):
        find_candidates(source)
    values = (("0", "A"), ("1", "B"), ("2", "C"), ("3", "D"))
    found = find_candidates(ManifestSource(source.manifest, values)).found
    assert [c.label.density for c in found if c.label] == ["A", "D"]
