from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.dicom.rejections import ManifestError
from components.dicom.rejections import RejectionReason as Reason
from components.sources.candidates import Label
from components.sources.labels import read_labels
from components.sources.source import FolderSource, ManifestSource, archive_fingerprint, find_candidates
from components.sources.tables import RowProblem
from tests.components.dicom.dicom_files import MakeDicom


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_labels_csv_in_other_dialects(tmp_path: Path) -> None:
    plain = csv(tmp_path / "a.csv", "exam_id,density,patient_id,age,split", "E1,2,P1,45,Train", "", "E2,D,,,")
    excel = tmp_path / "b.csv"
    excel.write_bytes(b"\xef\xbb\xbfExam_ID;Density;patient_id;age;split\r\nE1;2;P1;045Y;TRAIN\r\nE2;d\r\n")
    expected = {"E1": Label("E1", "B", "P1", 45, "train"), "E2": Label("E2", "D")}
    assert read_labels(plain)[0] == read_labels(excel)[0] == expected


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ("E1,E,,", Reason.INVALID_LABEL, "density"),
        ("E1,,,", Reason.NO_LABEL, "density"),
        ("E1,A,40,holdout", Reason.INVALID_ROW, "split"),
    ],
)
def test_bad_label_rows_name_line_column_value(tmp_path: Path, row: str, reason: Reason, column: str) -> None:
    problem = read_labels(csv(tmp_path / "labels.csv", "exam_id,density,age,split", "E0,A,,", row))[0]["E1"]
    assert isinstance(problem, RowProblem)
    assert problem.reason is reason
    assert problem.where == f"labels.csv line 3, column {column}"
    assert "allowed" in problem.allowed


def test_contradicting_label_rows(tmp_path: Path) -> None:
    labels, _ = read_labels(csv(tmp_path / "l.csv", "exam_id,density", "E1,A", "E1,a", "E2,A", "E2,B", "E2,A"))
    assert labels["E1"] == Label("E1", "A")
    assert isinstance(labels["E2"], RowProblem)


@pytest.mark.parametrize("content", [b"", b"exam,density\nE1,A\n", b"\xff\xfe\0bad", b"density,exam_id,density\n"])
def test_structural_errors_stop_ingest(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"labels\.csv"):
        read_labels(path)
    with pytest.raises(ManifestError, match=r"gone\.csv"):
        read_labels(tmp_path / "gone.csv")
    with pytest.raises(ManifestError, match="no such folder"):
        find_candidates(FolderSource(tmp_path / "gone", path))


def test_folder_candidates(tmp_path: Path, make_dicom: MakeDicom) -> None:
    labels = csv(tmp_path / "labels.csv", "exam_id,density", "E1,A")
    for name in ("exam/a.dcm", "exam/B.DCM", "exam/IM0001", "b.dicom", "c.IMA", "exam/1.2.840.5"):
        make_dicom(name)
    for name in ("note.txt", "truth.png", "DICOMDIR", "exam/.hidden.dcm", ".git/x.dcm", "1.2.3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "dangling.dcm").symlink_to(tmp_path / "nowhere")
    candidates = find_candidates(FolderSource(tmp_path, labels))
    assert [c.file for c in candidates.found] == [
        "b.dicom",
        "c.IMA",
        "dangling.dcm",  # it is missed when it is read
        "exam/1.2.840.5",
        "exam/B.DCM",
        "exam/IM0001",
        "exam/a.dcm",
    ]
    assert candidates.ignored == {".3": 1, ".csv": 1, ".png": 1, ".txt": 1, "DICOMDIR": 1}
    assert candidates.labels == {"E1": Label("E1", "A")}


def test_manifest_candidates(tmp_path: Path) -> None:
    manifest = csv(
        tmp_path / "m.csv",
        "exam_id,view,file,density,patient_id,split,acquisition_system,age",
        "E1,CC_R,images/a.jpg,B,P1,eval,Scanner  X,50",
        "E1,RMLO,./images/../images/b.jpg,B,,,,",
        "E1,ML_R,c.jpg,B,,,,",
        "E1,,d.jpg,B,,,,",
        "E1,CC_L,../outside.jpg,B,,,,",
        "E1,CC_L,/etc/passwd,B,,,,",
        f"E1,CC_L,{tmp_path}/inside.jpg,B,,,,",
        "E1,CC_L,,B,,,,",
        "E1,CC_L,e.jpg,Z,,,,",
        "E1,CC_L,f.jpg,,,,,",
        "E1,CC_L,g.jpg,A,,both,,",
        ",CC_L,h.jpg,A,,,,",
    )
    found = find_candidates(ManifestSource(manifest)).found
    by_line = {c.line: c for c in found}
    assert by_line[2].label == Label("E1", "B", "P1", 50, "eval", "Scanner X")
    assert (by_line[2].file, by_line[2].view) == ("images/a.jpg", "CC_R")
    assert (by_line[3].file, by_line[3].view) == ("images/b.jpg", "MLO_R")
    assert by_line[8].file == "inside.jpg"
    reasons = {line: c.rejection.reason for line, c in by_line.items() if c.rejection}
    assert reasons == {
        4: Reason.UNSUPPORTED_VIEW,
        5: Reason.UNKNOWN_VIEW,
        6: Reason.UNSAFE_PATH,
        7: Reason.UNSAFE_PATH,
        9: Reason.UNSAFE_PATH,
        10: Reason.INVALID_LABEL,
        11: Reason.NO_LABEL,
        12: Reason.INVALID_ROW,
        13: Reason.INVALID_ROW,
    }
    refused = by_line[10].rejection
    assert refused is not None
    problem = "m.csv line 10, column density is Z; A, B, C, D or 1 to 4 is allowed."
    assert refused.message == f"e.jpg: invalid_label, {problem}"


def test_manifest_without_columns(tmp_path: Path) -> None:
    manifest = csv(tmp_path / "m.csv", "exam_id,file", "E1,a.jpg")
    with pytest.raises(ManifestError, match="columns density, view are missing"):
        find_candidates(ManifestSource(manifest))


@pytest.mark.skipif(not Path("../shared/data/ddsm_browse").is_dir(), reason="needs ../shared/data")
def test_real_manifest_of_film_exams() -> None:
    found = find_candidates(ManifestSource(Path("../shared/data/ddsm_browse/labels.csv"))).found
    assert len(found) == 1144
    assert len({c.label.exam_id for c in found if c.label}) == 286
    assert not [c for c in found if c.rejection]


def test_the_fingerprint_depends_on_the_archive_and_not_on_its_location(tmp_path: Path) -> None:
    def build(root: Path) -> FolderSource:
        (root / "e").mkdir(parents=True)
        (root / "e" / "a.dcm").write_bytes(b"1234")
        os.utime(root / "e" / "a.dcm", ns=(5, 5))
        return FolderSource(root, csv(root / "labels.csv", "exam_id,density", "e,A"))

    here, there = build(tmp_path / "here"), build(tmp_path / "there")
    image = tmp_path / "there" / "e" / "a.dcm"
    first = archive_fingerprint(here)
    assert first == archive_fingerprint(there)
    os.utime(image, ns=(5, 6))
    assert archive_fingerprint(there) != first
    os.utime(image, ns=(5, 5))
    assert archive_fingerprint(there) == first
    csv(tmp_path / "there" / "labels.csv", "exam_id,density", "e,B")
    assert archive_fingerprint(there) != first
    (tmp_path / "here" / "e" / "b.dcm").touch()
    assert archive_fingerprint(here) != first
