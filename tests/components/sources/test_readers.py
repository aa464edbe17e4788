"""Several readers of one exam in label tables, each as bytes on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dicom.rejections import ManifestError, RejectionReason
from components.sources.candidates import Label
from components.sources.labels import read_labels
from components.sources.readers import majority
from components.sources.source import ManifestSource, find_candidates
from components.sources.tables import RowProblem
from schema.features import DENSITY_CLASSES


def labels_of(folder: Path, text: str) -> tuple[dict[str, Label | RowProblem], tuple[str, ...]]:
    path = folder / "labels.csv"
    path.write_text(text)
    return read_labels(path)


@pytest.mark.parametrize(
    "text",
    [
        "exam_id,density_reader1,density_reader2,density_reader3\nE1,B,C,C\nE2,A,,\nE3,B,C,\n",
        "Exam ID;Density Reader 1;DENSITY-READER-2;density_reader_3\nE1;2;3;3.0\nE2;1;;-\nE3;2;3;n/a\n",
        "exam_id,reader,density\nE3,2,C\nE1,3,C\nE1,1,B\nE1,2,C\nE2,1,A\nE3,1,B\n",
        "exam_id,reader,density\nE1,1.0,B\nE1,2.0,C\nE1,3.0,C\nE2,1.0,A\nE2,2.0,\nE3,1.0,B\nE3,2.0,C\n",
        "exam_id,reader,density\nE1,1,B\nE1,1,B\nE1,2,C\nE1,3,C\nE2,,A\nE3,1,B\nE3,2,C\n",
    ],
)
def test_readers_have_columns_or_rows(tmp_path: Path, text: str) -> None:
    labels, warnings = labels_of(tmp_path, text)
    assert labels == {
        "E1": Label("E1", "C", readings=(("1", "B"), ("2", "C"), ("3", "C"))),
        "E2": Label("E2", "A"),
        "E3": Label("E3", "C", readings=(("1", "B"), ("2", "C"))),
    }
    assert "labels.csv: the readers of 2 exams differ in density; 1 of these have no majority" in warnings[-1]


def test_an_adjudicated_density_is_the_label_whatever_the_readers_say(tmp_path: Path) -> None:
    labels, warnings = labels_of(tmp_path, "exam_id,density,density_reader1,density_reader2\nE1,A,B,B\nE2,,C,C\n")
    assert labels["E1"] == Label("E1", "A", readings=(("1", "B"), ("2", "B")))
    assert labels["E2"] == Label("E2", "C", readings=(("1", "C"), ("2", "C")))
    assert warnings == ()


def test_each_reader_grades_the_denser_breast(tmp_path: Path) -> None:
    rows = "E1,1,R,A\nE1,1,L,C\nE1,2,R,B\nE1,2,L,B\n"
    by_row, warnings = labels_of(tmp_path, f"exam_id,reader,side,density\n{rows}")
    by_column, _ = labels_of(tmp_path, "exam_id,side,density_reader1,density_reader2\nE1,R,A,B\nE1,L,C,B\n")
    assert by_row == by_column == {"E1": Label("E1", "C", readings=(("1", "C"), ("2", "B")))}
    assert any("the breasts of 1 exams differ" in warning for warning in warnings)


def test_a_reader_of_each_breast_is_no_second_reader(tmp_path: Path) -> None:
    labels, _ = labels_of(tmp_path, "exam_id,reader,side,density\nE1,1,R,A\nE1,2,L,C\nE2,1,R,A\nE2,2,R,B\nE2,2,L,B\n")
    assert labels["E1"] == Label("E1", "C")
    problem = labels["E2"]
    assert isinstance(problem, RowProblem)
    assert problem.reason is RejectionReason.INVALID_LABEL


@pytest.mark.parametrize(
    ("text", "reason", "where"),
    [
        ("exam_id,density\nE1,A\nE1,B\n", RejectionReason.INVALID_LABEL, "density"),  # nobody is named, as ever
        ("exam_id,reader,density\nE1,1,A\nE1,1,B\nE1,2,A\n", RejectionReason.INVALID_LABEL, "density"),
        ("exam_id,reader,density\nE1,,A\nE1,,B\n", RejectionReason.INVALID_LABEL, "density"),
        ("exam_id,reader,density\nE1,,A\nE1,2,A\n", RejectionReason.INVALID_ROW, "reader"),
        ("exam_id,density_reader1,density_reader2\nE1,A,X\n", RejectionReason.INVALID_LABEL, "density_reader2"),
        ("exam_id,density_reader1,density_reader2\nE1,A,B\nE1,C,B\n", RejectionReason.INVALID_LABEL, "density_reader1"),
        ("exam_id,density_reader1,density_reader2\nE1,,\n", RejectionReason.NO_LABEL, "density"),
        (f"exam_id,reader,density\nE1,{'x' * 33},A\n", RejectionReason.INVALID_ROW, "reader"),
        ("exam_id,reader,density\nE1,1,B\nE1,2,C\nE1,Consensus,B\n", RejectionReason.INVALID_ROW, "reader"),
        ("exam_id,reader,density\nE1,1,B\nE1,(model),C\n", RejectionReason.INVALID_ROW, "reader"),
    ],
)
def test_contradictions_are_typed(tmp_path: Path, text: str, reason: RejectionReason, where: str) -> None:
    problem = labels_of(tmp_path, text)[0]["E1"]
    assert isinstance(problem, RowProblem)
    assert problem.reason is reason
    assert problem.where.endswith(f"column {where}")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("exam_id,reader,density_reader1", "in columns or in rows, not both"),
        ("exam_id,density_reader1,density_reader1", "columns density_reader1 repeat|several columns are of reader 1"),
        ("exam_id,density_reader1,density_reader_1", "several columns are of reader 1"),
        ("exam_id,reader_density", "columns density are missing"),
    ],
)
def test_tables_that_name_readers_twice_are_refused(tmp_path: Path, header: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        labels_of(tmp_path, f"{header}\nE1,A,B\n")


@pytest.mark.parametrize(
    ("columns", "cells", "wrong"),
    [
        # Three readers say C, the denser breast; six votes of breasts would say A.
        ("density_reader1_right,density_reader1_left,density_reader2_right,density_reader2_left", "A,C,A,A", 4),
        ("density_reader_right,density_reader_left", "A,C", 2),
        ("density_reader1,density_reader2,Density Reader Consensus", "B,C,B", 1),
        ("density_reader1,density_reader_1_date", "B,3", 1),
        ("density_reader1,density reader #2,density_reader(3)", "B,C,C", 2),
        (f"density_reader1,density_reader_{'x' * 33}", "A,D", 1),
        ("density,density_reader", "A,D", 1),
    ],
)
def test_a_column_that_is_not_of_one_reader_is_neither_counted_nor_dropped(
    tmp_path: Path, columns: str, cells: str, wrong: int
) -> None:
    with pytest.raises(ManifestError, match="rename the columns") as raised:
        labels_of(tmp_path, f"exam_id,{columns}\nE1,{cells}\n")
    named = str(raised.value).split("rename the columns ")[1].split(": density_reader must")[0]
    assert len(named.split(", ")) == wrong


def test_readers_may_have_letters_of_any_language_and_their_number_is_no_reader(tmp_path: Path) -> None:
    head = "exam_id,density_reader_rossi,Density_Reader_MÜLLER,density_reader_l,density_readers"
    labels, _ = labels_of(tmp_path, f"{head}\nE1,B,C,C,3\n")
    assert labels["E1"] == Label("E1", "C", readings=(("l", "C"), ("müller", "C"), ("rossi", "B")))


def test_columns_of_readers_that_count_from_zero_are_refused_each(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="column density_reader2 contains 0"):
        labels_of(tmp_path, "exam_id,density_reader1,density_reader2\nE1,4,0\n")


def test_a_manifest_has_readers_too(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    head = "exam_id,view,file,density_reader1,density_reader2\n"
    path.write_text(
        f"{head}E1,CC_R,a.png,B,C\nE1,CC_L,b.png,B,C\nE2,CC_R,c.png,B,\nE3,CC_R,d.png,A,B\nE3,CC_L,e.png,C,B\n"
    )
    found = {one.file: one for one in find_candidates(ManifestSource(path)).found}
    label = Label("E1", "C", readings=(("1", "B"), ("2", "C")))
    assert (found["a.png"].label, found["b.png"].label, found["c.png"].label) == (label, label, Label("E2", "B"))
    rejections = [found[name].rejection for name in ("d.png", "e.png")]
    assert [r.reason for r in rejections if r] == [RejectionReason.INVALID_LABEL] * 2
    assert all("density_reader1" in r.tag for r in rejections if r)


def test_a_manifest_names_each_file_once_per_reader(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = [f"E1,{view},{view}.png,{reader},{density}" for reader, density in ("1B", "2C") for view in ("CC_R", "CC_L")]
    path.write_text("\n".join(["exam_id,view,file,reader,density", *rows]))
    label = Label("E1", "C", readings=(("1", "B"), ("2", "C")))
    found = find_candidates(ManifestSource(path)).found
    assert [(one.file, one.label) for one in found] == [("CC_L.png", label), ("CC_R.png", label)]
    path.write_text(
        "\n".join(["exam_id,view,file,density", *(row.replace(",1,B", ",B").replace(",2,C", ",B") for row in rows)])
    )
    assert len(find_candidates(ManifestSource(path)).found) == 4, "without readers, planning tells of copies"


def test_a_reader_without_a_readable_density_leaves_the_exam_out_of_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = "E1,CC_R,a.png,1,B\nE1,CC_R,a.png,2,C\nE1,CC_R,a.png,3,BI-RADS 3\nE1,CC_L,b.png,1,B\n"
    path.write_text(f"exam_id,view,file,reader,density\n{rows}")
    found = find_candidates(ManifestSource(path)).found
    assert [one.file for one in found] == ["a.png", "b.png"]
    for one in found:
        assert one.rejection is not None
        assert (one.rejection.reason, one.rejection.value) == (RejectionReason.INVALID_LABEL, "BI-RADS 3")


def test_an_empty_reading_does_not_count_in_a_manifest_either(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = "E1,CC_R,a.png,1,B\nE1,CC_R,a.png,2,\nE1,CC_R,a.png,3,B\nE2,CC_R,c.png,1,\n"
    path.write_text(f"exam_id,view,file,reader,density\n{rows}")
    one, other = find_candidates(ManifestSource(path)).found
    assert (one.file, one.label, one.rejection) == ("a.png", Label("E1", "B", readings=(("1", "B"), ("3", "B"))), None)
    assert other.rejection is not None
    assert other.rejection.reason is RejectionReason.NO_LABEL


@given(st.lists(st.sampled_from(DENSITY_CLASSES), min_size=1, max_size=7))
def test_a_majority_is_a_density_that_nobody_outvotes(densities: list[str]) -> None:
    chosen, is_tied = majority(densities)
    counts = Counter(densities)
    assert counts[chosen] == max(counts.values())
    assert is_tied == (sum(count == counts[chosen] for count in counts.values()) > 1)
    assert all(other <= chosen for other, count in counts.items() if count == counts[chosen])
    assert majority(densities[::-1]) == (chosen, is_tied)
