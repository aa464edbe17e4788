"""What is kept and shown of an outcome: JSON, page, sentences; and the arms that the data decide."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from components.evaluator.predictions import Predictions, ViewPrediction
from pipeline.commands.experiments import outcome_tables
from pipeline.config import find_config
from pipeline.console import NodeResult
from pipeline.experiments.arms import FinishedArm, Network
from pipeline.experiments.catalogue import EXPERIMENTS, detail_parts
from pipeline.experiments.declarations import Experiment
from pipeline.experiments.judge import Graded, differences_of, figures_of, scores_of
from pipeline.experiments.page import experiment_page
from pipeline.experiments.results import outcome_document
from pipeline.experiments.run import ExperimentError, Outcome, Setting, arms_without, with_data
from pipeline.experiments.thesis_figures import SLIDE_FIGURES
from schema.features import ACQUISITION_SYSTEM, VIEWS

SYSTEMS = ("GE Senograph DS ADS 53.40", "IMS Giotto Image SDL")
SETTING = Setting(find_config("experiment"))


def finished(experiment: Experiment, number: int) -> FinishedArm:
    rows = []
    for exam in range(48):
        label = exam % 4
        grade = (label + (exam % (5 + number) == 0)) % 4
        values = tuple(0.7 if index == grade else 0.1 for index in range(4))
        rows += [
            ViewPrediction(f"e{exam}", f"p{exam}", view, "ABCD"[label], values, {ACQUISITION_SYSTEM: SYSTEMS[exam % 2]})
            for view in VIEWS
        ]
    config = SETTING.config(experiment.arms[number])
    return FinishedArm(
        config=config,
        predictions=Predictions(tuple(rows), (ACQUISITION_SYSTEM,), {}),
        file=Path(f"/nowhere/model_{number}.csv"),
        temperature=0.5,
        networks={
            name: Network(7, 16, 0.875, {"train": 80, "eval": 20}) for name in config.pipeline.trainer.views_by_network
        },
        exams={split: dict.fromkeys("ABCD", 12) for split in ("train", "eval", "test")},
        learnt_systems=SYSTEMS,
        nodes=(NodeResult("DicomExampleGen", True, 0.1, {}), NodeResult("ExamEnsemble", False, 9.0, {})),
        seconds=100.0,
    )


def outcome(name: str) -> Outcome:
    experiment = EXPERIMENTS[name]
    arms = {arm.name: finished(experiment, number) for number, arm in enumerate(experiment.arms)}
    graded = {arm: Graded(found.predictions.rows, found.temperature) for arm, found in arms.items()}
    scores = {(arm, p.name): scores_of(g, p, 0) for arm, g in graded.items() for p in experiment.parts}
    details = {(arm, p.name): scores_of(g, p, 0) for arm, g in graded.items() for p in detail_parts(experiment)}
    return Outcome(
        experiment=experiment,
        base=SETTING.config(),
        arms=arms,
        figures=figures_of(scores, experiment.figures, 100, 1),
        differences=differences_of(scores, experiment.baseline, experiment.figures, 100, 1),
        details=figures_of(details, SLIDE_FIGURES, 100, 1),
        phantoms=SETTING.config().phantoms,
        date="2026-11-23",
        seconds=200.0,
    )


def test_json_holds_every_figure_and_every_arms_configuration_and_no_folder() -> None:
    found = json.loads(json.dumps(outcome_document(outcome("flip"))))
    assert len(found["figures"]) == 2 * 3 * 5
    assert [row["slides"] for row in found["figures"] if row["part"] == "All" and "slides" in row] == [
        *(0.784, 0.771, 0.769),
        *(0.761, 0.737),
    ]
    assert {row["figure"] for row in found["differences"]} == {"accuracy", "macro_recall", "quadratic_kappa"}
    sides = {name: arm["configuration"]["trainer"]["sides"] for name, arm in found["arms"].items()}
    assert sides == {"Without flip": "separate", "With flip": "mirrored"}
    assert found["arms"]["With flip"]["networks"]["CC"]["best_epoch"] == 7
    assert found["arms"]["With flip"]["exams"]["train"] == dict.fromkeys("ABCD", 12)
    assert found["arms"]["With flip"]["predictions"] == "predictions/model_1.csv"
    assert found["phantoms"]["exams"] == 150
    assert "nowhere" not in json.dumps(found)


@pytest.mark.parametrize("name", ["architecture", "flip", "summary"])
def test_the_page_shows_table_chart_views_and_whose_the_slides_figures_are(name: str) -> None:
    made = outcome(name)
    page = experiment_page(made)
    assert page == experiment_page(made)
    for text in ("other data: 1,962 AOUP exams", "150 phantom exams, seed 11", "BV epoch", "validation accuracy"):
        assert text in page
    for arm in made.arms:
        assert arm in page
    assert "<script" not in page
    assert "https:" not in page


def test_the_terminal_says_data_sizes_and_whose_the_slides_figures_are() -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, width=150)
    for part in outcome_tables(outcome("image_size")):
        console.print(part)
    text = " ".join(terminal.getvalue().split())
    assert "450 pixels = 64 pixels, 650 pixels = 92 pixels" in text
    assert "150 phantom exams, seed 11, AOUP distribution. Test split: 48 exams (A 12, B 12, C 12, D 12)" in text
    assert "slides" not in text.replace("The slides compare", "")


def test_each_system_that_is_learnt_from_and_tested_is_left_out_once() -> None:
    first = finished(EXPERIMENTS["unseen_system"], 0)
    arms = arms_without(first)
    assert list(arms) == list(SYSTEMS)
    for system, arm in arms.items():
        assert SETTING.config(arm).pipeline.selection.without_systems == (system,)
    with pytest.raises(ExperimentError, match=r"two or more acquisition systems\. Received: IMS Giotto Image SDL\."):
        arms_without(replace(first, learnt_systems=SYSTEMS[1:]))


def test_without_data_and_phantoms_nothing_can_be_run() -> None:
    with pytest.raises(ExperimentError, match="names no archive"):
        with_data(Setting(find_config("thesis_resnet3")), io.StringIO())
