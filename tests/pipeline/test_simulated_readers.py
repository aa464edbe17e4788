"""The command ``readers``: the table that it writes is one that a run reads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score
from typer.testing import CliRunner

from components.sources.candidates import Label
from components.sources.labels import read_labels
from pipeline.cli import app
from pipeline.simulated_readers import ReaderPlan, draw, perfect_model_table
from schema.features import DENSITY_CLASSES

PLAN = ReaderPlan(kappa=0.7, readers=3, seed=1)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """200 exams in two rows each, and one with a bad density."""
    random = np.random.default_rng(1)
    densities = random.choice(["A", "B", "C", "D"], 200, p=[0.1, 0.4, 0.4, 0.1])
    table = [[f"E{exam:03d}", side, density, 50] for exam, density in enumerate(densities) for side in ("R", "L")]
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["exam_id", "side", "density", "age"], *table, ["E999", "R", "E", 50]])
    return path


def test_a_run_reads_the_table_and_finds_the_readers(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "readers.csv"
    done = CliRunner().invoke(app, ["readers", str(labels), "--out", str(out), "--kappa", ".7"])
    assert done.exit_code == 0, done.output
    assert "0.700 between two readers" in " ".join(done.output.split())
    found, _ = read_labels(out)
    before, _ = read_labels(labels)
    exams = {exam: label for exam, label in before.items() if isinstance(label, Label)}
    assert len(exams) == 200
    drawn, _ = draw(labels, PLAN)
    graded = {exam: label for exam, label in found.items() if isinstance(label, Label)}
    readings = [graded[exam].readings for exam in exams]
    expected = [tuple((str(n), DENSITY_CLASSES[k]) for n, k in enumerate(row, start=1)) for row in drawn.drawn]
    assert readings == expected
    assert {label.age for label in graded.values()} == {50}
    assert not isinstance(found["E999"], Label)
    with out.open() as stream:
        assert {row["exam_id"]: row["true_density"] for row in csv.DictReader(stream)} == {
            **{exam: label.density for exam, label in exams.items()},
            "E999": "",
        }


def test_the_order_of_the_rows_does_not_change_the_readers(labels: Path, tmp_path: Path) -> None:
    head, *rows = labels.read_text().splitlines(keepends=True)
    other = tmp_path / "other.csv"
    other.write_text("".join([head, *rows[::-1]]))
    assert (draw(other, PLAN)[0].drawn == draw(labels, PLAN)[0].drawn).all()
    assert draw(labels, PLAN)[1] == draw(labels, PLAN)[1]
    assert draw(labels, PLAN)[1] != draw(labels, ReaderPlan(0.7, 3, seed=2))[1]


def test_a_model_without_any_error_has_what_its_judges_leave(labels: Path) -> None:
    drawn, _ = draw(labels, PLAN)
    table = perfect_model_table(drawn)
    by_judge = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert by_judge["The labels"][:2] == ["100.0\u00a0%", "1.000"]
    reader = drawn.drawn[:, 0]
    kappa = cohen_kappa_score(reader, drawn.truth, weights="quadratic")
    accuracy = accuracy_score(reader, drawn.truth)
    assert by_judge["Reader 1"][:2] == [f"{100 * accuracy:.1f}\u00a0%", f"{kappa:.3f}"]
    assert float(by_judge["Majority of 3 readers"][1]) > kappa


@pytest.mark.parametrize("columns", ["exam_id,density_reader1,density_reader2", "exam_id,density,reader"])
def test_readers_are_not_drawn_over_readers(tmp_path: Path, columns: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{columns}\nE1,A,B\nE2,B,C\n")
    with pytest.raises(ValueError, match="remove these columns"):
        draw(path, PLAN)
