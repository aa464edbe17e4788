"""From predictions to tables: parts of the test split, figures against scikit-learn, the slides' form."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, cohen_kappa_score, precision_score, recall_score

from components.evaluator.offline import evaluate_predictions
from components.evaluator.predictions import Predictions, ViewPrediction, read_predictions
from components.exams.distribution import DistributionConfig, exams_to_drop
from pipeline.experiments.catalogue import EXPERIMENTS, detail_parts
from pipeline.experiments.declarations import Part
from pipeline.experiments.judge import Graded, differences_of, figures_of, pooled, rows_of, scores_of
from pipeline.experiments.prediction_table import write_predictions
from pipeline.experiments.table import lay_out, page_tables, rich_table
from schema.features import ACQUISITION_SYSTEM, DENSITY_CLASSES, VIEWS, ClassDistribution

COUNTS = (12, 28, 50, 10)
SYSTEMS = ("GE", "IMS")
SLIDES_FIGURES = ("accuracy", "macro_recall", "macro_precision", "quadratic_kappa", "exams")


def predictions(seed: int, skill: float) -> tuple[ViewPrediction, ...]:
    """100 exams of AOUP's distribution; the first of each five patients has two exams."""
    random = np.random.default_rng(seed)
    labels = [name for name, count in zip(DENSITY_CLASSES, COUNTS, strict=True) for _ in range(count)]
    rows = []
    for number, label in enumerate(labels):
        for view in VIEWS:
            logits = random.normal(size=4) + skill * np.eye(4)[DENSITY_CLASSES.index(label)]
            values = np.exp(logits) / np.exp(logits).sum()
            patient = f"p{number - number % 5 if number % 5 == 1 else number}"
            system = {ACQUISITION_SYSTEM: SYSTEMS[number % 2]}
            rows.append(ViewPrediction(f"e{number:03d}", patient, view, label, tuple(values.tolist()), system))
    return tuple(rows)


ROWS = predictions(1, 1.5)
GRADED = Graded(ROWS)


@pytest.mark.parametrize(
    ("distribution", "counts"),
    [("AOUP", (12, 28, 50, 10)), ("BIRADS", (7, 28, 28, 7)), ("uniform", (10, 10, 10, 10))],
)
def test_a_test_distribution_is_drawn_by_exam_as_ingest_draws_it(
    distribution: ClassDistribution, counts: tuple[int, ...]
) -> None:
    part = Part("test", distribution)
    rows = rows_of(ROWS, part, "seed")
    labels = {row.exam_id: row.label for row in rows}
    found = Counter(labels.values())
    assert tuple(found[name] for name in DENSITY_CLASSES) == counts
    assert Counter(Counter(row.exam_id for row in rows).values()) == {4: sum(counts)}  # whole exams
    dropped = exams_to_drop(
        {row.exam_id: ("test", row.label) for row in ROWS},
        DistributionConfig.model_validate({"test": distribution}),
        "seed",
    )
    assert labels.keys() == {row.exam_id for row in ROWS} - dropped
    # Another model is judged on the same exams.
    assert {row.exam_id for row in rows_of(predictions(2, 0.5), part, "seed")} == labels.keys()


def test_figures_are_those_of_scikit_learn_and_of_the_command_evaluate(tmp_path: Path) -> None:
    part = Part("test", "BIRADS")
    rows = rows_of(ROWS, part, 0)
    truth, grades = [], []
    for exam in dict.fromkeys(row.exam_id for row in rows):
        images = [row for row in rows if row.exam_id == exam]
        truth.append(DENSITY_CLASSES.index(images[0].label))
        grades.append(int(np.mean([image.probabilities for image in images], axis=0).argmax()))
    figures = figures_of({("arm", "test"): scores_of(GRADED, part, 0)}, SLIDES_FIGURES, 200, 1)
    expected = {
        "accuracy": accuracy_score(truth, grades),
        "macro_recall": recall_score(truth, grades, average="macro"),
        "macro_precision": precision_score(truth, grades, average="macro"),
        "quadratic_kappa": cohen_kappa_score(truth, grades, weights="quadratic"),
        "exams": 70,
    }
    assert {name: figures["arm", "test", name].value for name in expected} == pytest.approx(expected, abs=1e-6)

    write_predictions(tmp_path / "kept.csv", rows)
    kept = read_predictions(tmp_path / "kept.csv")
    whole = next(entry for entry in evaluate_predictions(kept, draws=200)["exam"] if not entry["slice"])
    for name in SLIDES_FIGURES[:-1]:
        assert figures["arm", "test", name].to_dict() == whole["metrics"][name]


def test_views_breasts_and_exams_of_the_backup_tables_are_those_of_the_evaluator() -> None:
    parts = detail_parts(EXPERIMENTS["normalisation"])
    figures = figures_of({("arm", p.name): scores_of(GRADED, p, 0) for p in parts}, ("accuracy", "exams"), 100, 1)
    result = evaluate_predictions(Predictions(ROWS, (), {}), draws=100)
    for part in parts:
        level = "view" if part.view else "breast" if part.side else "exam"
        key = {"view": part.view} if part.view else {"laterality": part.side} if part.side else {}
        [entry] = [entry for entry in result[level] if entry["slice"] == key]
        assert figures["arm", part.name, "accuracy"].to_dict() == entry["metrics"]["accuracy"]
        assert figures["arm", part.name, "exams"].n == 100


def test_arms_are_compared_on_the_exams_that_both_graded() -> None:
    worse = Graded(tuple(row for row in predictions(2, 0.3) if row.exam_id != "e000"))
    part = Part("test set")
    scores = {("good", part.name): scores_of(GRADED, part, 0), ("bad", part.name): scores_of(worse, part, 0)}
    found = differences_of(scores, "good", SLIDES_FIGURES, 500, 1)
    assert {key[2] for key in found} == {"accuracy", "macro_recall", "quadratic_kappa"}
    change = found["bad", part.name, "accuracy"]
    assert change.n == 99
    assert change.ci95 is not None
    assert change.value is not None
    assert change.ci95[0] < change.value < change.ci95[1] < 0
    same = differences_of({**scores, ("bad", part.name): scores["good", part.name]}, "good", SLIDES_FIGURES, 100, 1)
    assert same["bad", part.name, "accuracy"].value == 0


def test_systems_pooled_are_all_exams_once() -> None:
    parts = [
        (Graded(ROWS, temperature), Part(system, system=system))
        for system, temperature in zip(SYSTEMS, (1, 2), strict=True)
    ]
    together, alone = pooled(parts, 0), scores_of(GRADED, Part("test set"), 0)
    assert together.keys == alone.keys
    np.testing.assert_array_equal(together.predicted, alone.predicted)
    np.testing.assert_array_equal(together.clusters, alone.clusters)


def shown(name: str, differences: bool = False) -> str:
    experiment = EXPERIMENTS[name]
    scores = {
        (arm.name, part.name): scores_of(Graded(predictions(number, 1.0 + number / 4)), part, 0)
        for number, arm in enumerate(experiment.arms)
        for part in experiment.parts
    }
    if differences:
        layout = lay_out(
            experiment, differences_of(scores, experiment.baseline, experiment.figures, 100, 1), None, True
        )
    else:
        layout = lay_out(experiment, figures_of(scores, experiment.figures, 100, 1), experiment.published)
    terminal = io.StringIO()
    console = Console(file=terminal, width=180)
    console.print(rich_table(layout))
    tables = page_tables(layout)
    assert sum(len(table.rows) for table in tables) == len(layout.rows)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    return terminal.getvalue().replace("\u00a0", " ")


def test_the_architecture_table_has_the_form_of_the_slide() -> None:
    text = shown("architecture")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert [row[:3] for row in lines if row[2]][:6] == [
        ["AOUP training set", "ResNet1", "test accuracy"],
        ["", "", "recall"],
        ["", "", "precision"],
        ["", "", "quadratic kappa"],
        ["", "", "exams"],
        ["", "ResNet2", "test accuracy"],
    ]
    slides = [row[3:] for row in lines if "slides" in row[3]]
    assert slides[0] == ["slides 76.6 %", "slides 76.3 %", "slides 72.2 %"]
    assert slides[-1] == ["slides 82.6 %", "slides 87.9 %", "slides 79.0 %"]
    assert len(slides) == 18
    assert [row[3:] for row in lines if row[2] == "exams"] == [["100", "70", "40"]] * 6
    assert "BIRADS training set" in text


def test_a_table_of_two_arms_is_a_line_an_arm() -> None:
    text = shown("normalisation")
    assert [text.count(name) for name in ("norm_1", "norm_2", "slides 79.7 %", "slides 89.7 %")] == [1] * 4
    change = shown("normalisation", differences=True)
    assert "difference from norm_1" in change
    assert "precision" not in change
    assert "slides" not in change
    assert "points" in change
    assert any(
        sign in change for sign in ("+0", "+1", "+2", "-0", "-1", "-2", "+3", "+4", "+5", "+6", "+7", "+8", "+9")
    )


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "unseen_system"])
def test_every_table_shows_every_figure_of_the_slides(name: str) -> None:
    published = EXPERIMENTS[name].published
    arms = {arm.name for arm in EXPERIMENTS[name].arms}
    wanted = [key for key in published.figures if key[0] in arms] if published else []
    assert shown(name).count("slides ") == len(wanted)
