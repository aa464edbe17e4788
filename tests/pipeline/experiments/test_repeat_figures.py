"""Metrics of repeated trainings against scikit-learn, their intervals, spread and paired differences; JSON and page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from rich.console import Console

from components.evaluator.predictions import ViewPrediction
from components.statistics.scores import Scores
from pipeline.config import RunConfig
from pipeline.experiments.fold_models import GREY, TEXTURE
from pipeline.experiments.fold_training import FoldData
from pipeline.experiments.folds import KnownExam, make_folds
from pipeline.experiments.repeat import FinishedSeed, PreparedArm, RepeatPlan, RepeatRun, file_name
from pipeline.experiments.repeat_figures import averaged, compare_arms, exam_scores
from pipeline.experiments.repeat_report import repeat_document, repeat_page, terminal_tables
from pipeline.experiments.repeat_result import result_of
from schema.features import ACQUISITION_SYSTEM, DENSITY_CLASSES, VIEWS
from tests.known import known

EXAMS = 120


def rows(seed: int, skill: float, exams: int = EXAMS) -> tuple[ViewPrediction, ...]:
    random = np.random.default_rng(seed)
    made = []
    for number in range(exams):
        label = number % 4
        for view in VIEWS:
            values = np.exp(random.normal(size=4) + skill * np.eye(4)[label])
            values /= values.sum()
            system = {ACQUISITION_SYSTEM: "film"}
            made.append(
                ViewPrediction(f"e{number:03d}", f"p{number:03d}", view, "ABCD"[label], tuple(values.tolist()), system)
            )
    return tuple(made)


def scores(seed: int, skill: float, exams: int = EXAMS) -> Scores:
    return exam_scores(rows(seed, skill, exams), 1)


def test_each_metric_is_the_mean_of_the_seeds_and_each_seeds_is_scikit_learns() -> None:
    seeds = [scores(1, 1.0), scores(2, 1.0)]
    found = compare_arms({"net": seeds}, 200, 1).arms["net"]
    for number, one in enumerate(seeds):
        labels, grades = one.labels, one.probabilities.argmax(axis=1)
        dense = one.probabilities[:, 2:].sum(axis=1)
        expected = {
            "quadratic_kappa": sklearn.metrics.cohen_kappa_score(labels, grades, weights="quadratic"),
            "accuracy": sklearn.metrics.accuracy_score(labels, grades),
            "macro_recall": sklearn.metrics.balanced_accuracy_score(labels, grades),
            "dense_auc": sklearn.metrics.roc_auc_score(labels >= 2, dense),
            "recall_B": sklearn.metrics.recall_score(labels, grades, labels=[1], average=None)[0],
        }
        for name, value in expected.items():
            assert found.by_seed[name][number] == pytest.approx(value, abs=1e-9)
    for name, figure in found.figures.items():
        assert figure.value == pytest.approx(np.mean(found.by_seed[name]), abs=1e-6)
        assert figure.ci95 is not None
        assert figure.ci95[0] < known(figure.value) < figure.ci95[1]
        assert found.spread(name) == pytest.approx(np.std(found.by_seed[name], ddof=1))
    assert found.figures["recall_B"].n == 30
    assert found.figures["accuracy"].n == EXAMS


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    truth = compare_arms({"net": [scores(0, 1.0, exams=4000)]}, 50, 1).arms["net"].figures["accuracy"].value
    assert truth is not None
    inside = 0
    for seed in range(1, 61):
        interval = compare_arms({"net": [scores(seed, 1.0)]}, 200, seed).arms["net"].figures["accuracy"].ci95
        assert interval is not None
        inside += interval[0] <= truth <= interval[1]
    assert 50 <= inside <= 60  # 95 % of 60 is 57; 50 or fewer has a probability of .001


def test_differences_are_paired_and_of_the_common_exams_alone() -> None:
    good, better = scores(1, 0.8), scores(1, 1.2)  # the same noise
    apart = scores(2, 1.2)
    compared = compare_arms({"good": [good], "same": [good], "better": [better], "apart": [apart]}, 500, 1)
    same = compared.differences["same"]["quadratic_kappa"]
    assert (same.value, same.ci95) == (0.0, None), "no resample differs"
    widths = {}
    for name in ("better", "apart"):
        figure = compared.differences[name]["quadratic_kappa"]
        base, own = (known(compared.arms[arm].figures["quadratic_kappa"].value) for arm in ("good", name))
        assert figure.value == pytest.approx(own - base, abs=2e-6)
        assert figure.ci95 is not None
        widths[name] = figure.ci95[1] - figure.ci95[0]
    assert widths["better"] < 0.8 * widths["apart"]
    fewer = compare_arms({"good": [good], "short": [scores(5, 1.0, exams=80)]}, 50, 1)
    assert fewer.exams == dict.fromkeys(DENSITY_CLASSES, 20)
    with pytest.raises(ValueError, match="No exam was graded by every arm"):
        compare_arms({"good": [good], "none": [scores(5, 1.0, exams=0)]}, 50, 1)


def test_averaged_probabilities_are_graded_together() -> None:
    seeds = [scores(seed, 0.8) for seed in range(5)]
    mean = averaged(seeds)
    np.testing.assert_allclose(mean.probabilities, np.mean([one.probabilities for one in seeds], axis=0))
    found = compare_arms({"net": seeds, "mean": [mean]}, 50, 1).arms
    assert found["mean"].by_seed["accuracy"][0] > max(found["net"].by_seed["accuracy"])  # independent noise
    with pytest.raises(ValueError, match="keys differ"):
        averaged([seeds[0], replace(seeds[1], keys=seeds[1].keys[::-1])])


def state(finished: dict[tuple[str, int], float]) -> RepeatRun:
    """Return a state with finished seeds of a given skill."""
    plan = RepeatPlan(("experiment", "experiment+pipeline.trainer.sides=one"), 3, (1, 2))
    exams = {row.exam_id: KnownExam(row.patient_id, row.label) for row in rows(0, 1.0)}
    arms = {
        name: PreparedArm(plan.setting(name).config(), FoldData((), "/nowhere", "hash", "hash"), exams)
        for name in plan.arms
    }
    summary = {"networks": {"ALL": {"best_epoch": 7, "epochs": 16}}, "seconds": 60.0}
    done = {
        key: FinishedSeed(rows(number, skill), Path(f"/nowhere/table_{number}.csv"), (summary,) * 3)
        for number, (key, skill) in enumerate(finished.items())
    }
    return RepeatRun(plan, arms, dict.fromkeys(arms, make_folds(exams, 3, 0.25)), done, None, "2026-11-30")


def text_of(parts: list[Any]) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in parts:
        console.print(part)
    return console.export_text()


def test_what_is_not_finished_is_said_and_what_is_finished_is_shown() -> None:
    one, other = "experiment", "experiment+pipeline.trainer.sides=one"
    result = result_of(state({(one, 1): 1.0}))
    assert not result.run.is_complete
    assert result.missing == (
        f"{one}: 3 of 6 folds are finished.",
        f"{other}: 0 of 6 folds are finished.",
        "The metrics count the folds of seed 1 that all arms have finished.",
    )
    assert list(result.comparison.arms) == [one]
    for shown in (repeat_page(result), text_of(terminal_tables(result))):
        assert "3 of 6 folds are finished" in shown
    whole = result_of(state({(one, 1): 1.0, (other, 1): 1.4, (one, 2): 1.1, (other, 2): 1.5}))
    assert whole.run.is_complete
    assert not whole.missing
    assert list(whole.comparison.arms) == [one, other, f"{one}, 2 seeds averaged", f"{other}, 2 seeds averaged"]
    page, terminal = repeat_page(whole), text_of(terminal_tables(whole))
    assert page == repeat_page(whole)
    for shown in (page, terminal):
        for text in ("Not finished", "one seed"):
            assert text not in shown
        for text in (
            "AUC, dense",
            "Difference from experiment",
            "Standard deviation and range",
            "120 exams (A 30",
            "3 folds",
        ):
            assert text in shown


def test_json_holds_every_figure_seed_and_configuration_and_no_folder() -> None:
    one, other = "experiment", "experiment+pipeline.trainer.sides=one"
    result = result_of(state({(one, 1): 1.0, (other, 1): 1.4}))
    document = json.loads(json.dumps(repeat_document(result)))
    assert document["baseline"] == one
    assert document["complete"] is False
    assert document["figures"][one]["accuracy"] == result.comparison.arms[one].figures["accuracy"].to_dict()
    assert document["by_seed"][other]["recall_A"] == [
        pytest.approx(result.comparison.arms[other].by_seed["recall_A"][0], abs=1e-6)
    ]
    assert set(document["differences"]) == {other}
    assert [row["predictions"] for row in document["trainings"]] == ["repeat/table_0.csv", "repeat/table_1.csv"]
    assert document["configurations"][other]["trainer"]["sides"] == "one"
    assert "nowhere" not in json.dumps(document)
    assert math.isfinite(document["figures"][one]["dense_auc"]["value"])


def part(state: RepeatRun, found: FinishedSeed, folds: int) -> FinishedSeed:
    """Keep the first folds of a finished seed."""
    kept = {exam for fold in state.folds[:folds] for exam in fold.test}
    return FinishedSeed(tuple(row for row in found.rows if row.exam_id in kept), None, found.summaries[:folds])


def test_before_a_seed_is_whole_the_finished_folds_count_and_then_whole_seeds_alone() -> None:
    one, other = "experiment", "experiment+pipeline.trainer.sides=one"
    whole = state({(one, 1): 1.0, (other, 1): 1.4, (one, 2): 0.2, (other, 2): 0.3})
    first = {key: part(whole, found, 2) for key, found in whole.finished.items() if key[1] == 1}
    begun = result_of(replace(whole, finished=first))
    kept = {exam for fold in whole.folds[:2] for exam in fold.test}
    assert sum(begun.comparison.exams.values()) == len(kept)
    expected = exam_scores([row for row in whole.finished[other, 1].rows if row.exam_id in kept], 1)
    accuracy = sklearn.metrics.accuracy_score(expected.labels, expected.probabilities.argmax(axis=1))
    assert begun.comparison.arms[other].by_seed["accuracy"] == pytest.approx((accuracy,))
    assert [row["predictions"] for row in repeat_document(begun)["trainings"]] == [None, None]
    second = {key: found if key[1] == 1 else part(whole, found, 2) for key, found in whole.finished.items()}
    later = result_of(replace(whole, finished=second))
    assert sum(later.comparison.exams.values()) == EXAMS
    assert {len(arm.by_seed["accuracy"]) for arm in later.comparison.arms.values()} == {1}
    assert later.missing == (
        f"{one}: 5 of 6 folds are finished.",
        f"{other}: 5 of 6 folds are finished.",
        "The metrics count whole seeds: 1.",
    )
    document = repeat_document(later)
    assert (document["counted_seeds"], document["seeds"], document["complete"]) == ([1], [1, 2], False)


def with_models(run: RepeatRun, config: RunConfig) -> RepeatRun:
    """Add texture model and grey statistics to an experiment with one arm."""
    arm = replace(run.arms["experiment"], config=config)
    names = ("experiment", TEXTURE, GREY)
    summaries = ({"networks": {}, "seconds": 1.0},) * 3
    models = {
        (name, seed): FinishedSeed(rows(number + 10 * seed * (name == TEXTURE), 0.8), Path("/nowhere/t"), summaries)
        for number, name in enumerate((TEXTURE, GREY), start=50)
        for seed in (1, 2)
    }
    finished = {key: found for key, found in run.finished.items() if key[0] == "experiment"} | models
    return replace(run, plan=replace(run.plan, arms=names), arms=dict.fromkeys(names, arm), finished=finished)


def test_each_configuration_is_mixed_with_the_texture_model_seed_by_seed() -> None:
    run = state({("experiment", 1): 0.8, ("experiment", 2): 0.8})
    mixed = "experiment and texture, averaged"
    names = ["experiment", TEXTURE, GREY, mixed]
    result = result_of(with_models(run, run.arms["experiment"].config))
    assert list(result.comparison.arms) == [
        *names,
        *(f"{name}, 2 seeds averaged" for name in ("experiment", TEXTURE, mixed)),
    ]
    assert result.comparison.arms[GREY].seeds == 1, "it has no seed"
    for seed, found in zip((1, 2), result.comparison.arms[mixed].by_seed["quadratic_kappa"], strict=True):
        expected = averaged([exam_scores(run.finished["experiment", seed].rows, 1), scores(50 + 10 * seed, 0.8)])
        grades = expected.probabilities.argmax(axis=1)
        kappa = sklearn.metrics.cohen_kappa_score(expected.labels, grades, weights="quadratic")
        assert found == pytest.approx(kappa, abs=1e-9)
    assert mixed in repeat_page(result)
    document = repeat_document(result)
    assert document["configurations"][TEXTURE]["trees"] == 400
    assert set(document["differences"]) == set(result.comparison.arms) - {"experiment"}


def test_a_mixed_configuration_is_judged_as_it_grades_with_its_weight() -> None:
    run = state({("experiment", 1): 0.8, ("experiment", 2): 0.8})
    config = RepeatPlan(("experiment",)).setting(
        "experiment+pipeline.ensemble.mixed=true+pipeline.ensemble.texture_weight=0.2"
    )
    result = result_of(with_models(run, config.config()))
    assert list(result.comparison.arms)[:4] == ["experiment", TEXTURE, GREY, "experiment, networks only"]
    networks, texture = exam_scores(run.finished["experiment", 1].rows, 1), scores(60, 0.8)
    expected = (0.8 * networks.probabilities + 0.2 * texture.probabilities).argmax(axis=1)
    found = result.comparison.arms
    assert found["experiment"].by_seed["accuracy"][0] == pytest.approx((expected == networks.labels).mean())
    alone = (networks.probabilities.argmax(axis=1) == networks.labels).mean()
    assert found["experiment, networks only"].by_seed["accuracy"][0] == pytest.approx(alone)


def test_names_of_arms_become_names_of_files() -> None:
    assert file_name("small+pipeline.trainer.image={size: 64}/../x") == "small_pipeline.trainer.image_size_64_.._x"
    long = "small" + "+pipeline.trainer.epochs=4" * 3
    assert file_name(f"{long}0") != file_name(f"{long}1")
    assert max(len(file_name(f"{long}{end}")) for end in "01") < 80
