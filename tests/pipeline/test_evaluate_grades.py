"""``evaluate grades.csv --labels``: the join with labels, its counts and its refusals, and figures of scikit-learn."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from sklearn import metrics as sk
from typer.testing import CliRunner

from components.dicom_example_gen.plan.identity import RESEARCH_KEY, keyed_hash
from pipeline.cli import app
from pipeline.evaluate.grades import AmbiguousJoinError, GradesError, join_labels, read_grades
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.archive import COLUMNS, write_exam_files, write_grades
from pipeline.predict.find import FoundExam
from schema.features import DENSITY_CLASSES


def grade(exam: str, density: str = "", p: Sequence[float] = (), status: str = "graded") -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS) | {"exam": exam, "status": status, "density": density or None}
    return row | ({f"p_{c}": value for c, value in zip(DENSITY_CLASSES, p, strict=True)} if len(p) else {})


def write_labels(path: Path, rows: Sequence[Sequence[object]], header: str = "exam_id,density") -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return path


def name_of(exam: str) -> str:
    return keyed_hash(exam, RESEARCH_KEY, "exam")[:16]


@pytest.fixture
def graded(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """Forty graded exams of 25 patients, three refused ones; labels of all but two, and of one more exam."""
    random = np.random.default_rng(4)
    labels = random.integers(0, 4, 40)
    p = random.dirichlet(np.full(4, 0.6), 40) + 0.5 * np.eye(4)[labels]
    p /= p.sum(axis=1, keepdims=True)
    rows = [grade(name_of(f"E{i}"), "ABCD"[p[i].argmax()], p[i].round(6).tolist()) for i in range(40)]
    rows += [grade(name_of(f"R{i}"), status="refused") for i in range(3)]
    write_grades(tmp_path, rows)
    table = [(f"E{i}", str(labels[i] + 1), f"P{i % 25}") for i in range(38)]
    table += [("R0", "2", "P90"), ("other", "1", "P91"), ("R1", "unreadable", "P92")]
    return tmp_path / "grades.csv", write_labels(tmp_path / "l.csv", table, "exam_id,density,patient_id"), labels, p


def test_figures_equal_scikit_learn_and_what_does_not_join_is_counted(
    graded: tuple[Path, Path, np.ndarray, np.ndarray],
) -> None:
    table, labels_file, labels, p = graded
    done = CliRunner().invoke(app, ["evaluate", str(table), "--labels", str(labels_file), "--json", "--draws", "200"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.output)
    whole, truth, grades = result["exam"][0], labels[:38], p[:38].argmax(1)
    assert (whole["n"], whole["ungraded"]) == (38, 1)
    expected = {
        "quadratic_kappa": sk.cohen_kappa_score(truth, grades, weights="quadratic"),
        "accuracy": sk.accuracy_score(truth, grades),
        "macro_recall": sk.balanced_accuracy_score(truth, grades),
        "dense_auc": sk.roc_auc_score(truth >= 2, p[:38].round(6)[:, 2:].sum(1)),
        "recall_D": sk.recall_score(truth, grades, labels=[3], average=None)[0],
    }
    for name, value in expected.items():
        figure = whole["metrics"][name]
        assert figure["value"] == pytest.approx(value, abs=2e-5), name
        assert figure["ci95"][0] <= figure["value"] <= figure["ci95"][1]
    assert whole["confusion_matrix"] == sk.confusion_matrix(truth, grades, labels=range(4)).tolist()
    assert result["join"] == {
        "exams_without_label": {"graded": 2, "refused": 1},
        "exams_with_unusable_label": {"invalid_label": 1},
        "labels_without_exam": 1,
        "joined_by": {"name": 39},
        "warnings": [],
    }
    shown = CliRunner().invoke(app, ["evaluate", str(table), "--labels", str(labels_file)], terminal_width=200).output
    for text in ("38 exams with a grade and a label", "2 graded exams of the table have no label", "1 labels have no"):
        assert text in " ".join(shown.split())


def test_the_given_grade_is_judged_also_where_another_class_is_likelier(tmp_path: Path) -> None:
    rows = [grade(name_of(f"E{i}"), "B", (0.4, 0.3, 0.3, 0.0)) for i in range(4)]
    write_grades(tmp_path, rows)
    labels = write_labels(tmp_path / "l.csv", [(f"E{i}", "B") for i in range(3)] + [("E3", "A")])
    output = (
        CliRunner().invoke(app, ["evaluate", str(tmp_path / "grades.csv"), "--labels", str(labels), "--json"]).output
    )
    assert json.loads(output)["exam"][0]["metrics"]["accuracy"]["value"] == 0.75


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "set"
    generate_phantoms(PhantomConfig(exams=3, seed=5, reduction=16, workers=1), folder)
    return folder / "images"


def found(archive: Path, out: Path) -> list[str]:
    """Writes the tables of a run of ``predict`` over the exams' folders; returns their hashes."""
    folders = sorted(path for path in archive.iterdir() if path.is_dir())
    exams = [
        FoundExam(f"{n:016x}", {f"file {k}": path for k, path in enumerate(sorted(folder.iterdir()), 1)})
        for n, folder in enumerate(folders)
    ]
    out.mkdir()
    write_exam_files(out, exams)
    write_grades(out, [grade(exam.key, "B", (0.1, 0.7, 0.1, 0.1)) for exam in exams])
    return [exam.key for exam in exams]


def headers(archive: Path) -> list[Any]:
    return [dcmread(next(iter(sorted(folder.iterdir())))) for folder in sorted(archive.iterdir()) if folder.is_dir()]


@pytest.mark.parametrize("kind", ["folder", "study", "accession number"])
def test_exams_of_folders_join_by_their_files_as_in_ingest(archive: Path, tmp_path: Path, kind: str) -> None:
    keys = found(archive, tmp_path / "out")
    names = {
        "folder": [folder.name for folder in sorted(archive.iterdir()) if folder.is_dir()],
        "study": [str(header.StudyInstanceUID) for header in headers(archive)],
        "accession number": [str(header.get("AccessionNumber", "")) for header in headers(archive)],
    }[kind]
    if not all(names):
        pytest.skip("phantoms have no such number")
    labels = write_labels(tmp_path / "labels.csv", [(name, "ABC"[i]) for i, name in enumerate(names)])
    joined = join_labels(tmp_path / "out" / "grades.csv", labels, RESEARCH_KEY)
    assert [(exam.grade.exam, exam.label.density) for exam in joined.exams] == list(zip(keys, "ABC", strict=True))
    [by] = joined.joined_by
    # The folders of phantoms are named by their accession numbers, which are the stronger key.
    assert by == ("accession number" if kind == "folder" else kind)
    assert all(exam.patient for exam in joined.exams), "intervals are by the patients of the headers"


def test_a_join_that_could_be_meant_in_two_ways_is_refused(archive: Path, tmp_path: Path) -> None:
    keys = found(archive, tmp_path / "out")
    table = tmp_path / "out" / "grades.csv"
    first = headers(archive)[0]
    patients = write_labels(tmp_path / "patients.csv", [(str(first.PatientID), "B")])
    rows = list(csv.reader((tmp_path / "out" / "exams.csv").read_text().splitlines()))
    halves = [rows[0], *([keys[i % 2], *row[1:]] for i, row in enumerate(rows[1:5]))]
    (tmp_path / "out" / "exams.csv").write_text("\n".join(",".join(row) for row in halves) + "\n")
    with pytest.raises(AmbiguousJoinError, match="have one label in common") as error:
        join_labels(table, patients, RESEARCH_KEY)
    assert str(first.PatientID) not in str(error.value)
    both = write_labels(tmp_path / "both.csv", [(keys[0], "B"), ("E0", "C")])
    write_grades(tmp_path / "out", [grade(keys[0], "B", (0, 1, 0, 0)), grade(name_of("E0"), "B", (0, 1, 0, 0))])
    assert len(join_labels(table, both, RESEARCH_KEY).exams) == 2
    clash = write_labels(tmp_path / "clash.csv", [(name_of("E0"), "B"), ("E0", "C")])
    with pytest.raises(AmbiguousJoinError, match="has 2 names in the labels file"):
        join_labels(table, clash, RESEARCH_KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("graded", "marked"), "column status: received 'marked'; one of graded, refused, failed is allowed"),
        ((",B,", ",E,"), "column density: received 'E'; one of A, B, C, D is allowed"),
        (("0.7", "0.9"), "received 'sum 1.2'; they must sum to 1"),
        (("0.7", "nan"), "column p_B: received 'nan'; a probability from 0 to 1 is allowed"),
        (("p_A", "p_a"), "line 1: columns p_A are missing"),
        (("\n1,", "\n0,"), "an earlier line has this exam already"),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    write_grades(tmp_path, [grade(str(i), "B", (0.1, 0.7, 0.1, 0.1)) for i in range(2)])
    table = tmp_path / "grades.csv"
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(GradesError, match=r"grades\.csv") as error:
        read_grades(table)
    assert message in str(error.value)


def test_the_table_and_the_option_belong_together(tmp_path: Path, graded: tuple[Path, ...]) -> None:
    alone = CliRunner().invoke(app, ["evaluate", str(graded[0])])
    assert "give --labels FILE" in str(alone.exception)
    views = tmp_path / "views.csv"
    views.write_text("exam_id,view,label,p_A,p_B,p_C,p_D\ne1,CC_R,B,.1,.8,.1,0\n")
    both = CliRunner().invoke(app, ["evaluate", str(views), "--labels", str(graded[1])])
    assert "remove --labels" in str(both.exception)
