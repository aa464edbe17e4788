"""Every gate's verdict, at and beside its threshold, on figures made by hand; and TFMA's configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.evaluator.config import EvaluatorConfig
from components.evaluator.eval_config import build_eval_config
from components.evaluator.gates import GateResult, judge
from components.evaluator.grey_baseline import GreyComparison
from components.evaluator.tfma_metrics import BASELINE, CANDIDATE
from components.statistics.intervals import Figure, paired_interval
from schema import features as f

OPEN = {
    "minimum_exam_accuracy": 0.0,
    "minimum_exam_quadratic_kappa": None,
    "maximum_kappa_loss": None,
    "maximum_system_loss": None,
}


def figure(value: float | None, n: int = 40) -> dict[str, Any]:
    return {"value": value, "ci95": None if value is None else (value - 0.1, value + 0.1), "n": n}


def part(
    chosen: dict[str, str], n: int, change: dict[str, Any] | None = None, **values: float | None
) -> dict[str, Any]:
    made = {"slice": chosen, "n": n, "metrics": {name: figure(value, n) for name, value in values.items()}}
    return made if change is None else {**made, "change": {name: figure(v, n) for name, v in change.items()}}


def gates(slices: list[dict[str, Any]], **config: Any) -> dict[tuple[str, str], GateResult]:
    return {(gate.name, gate.slice): gate for gate in judge(slices, EvaluatorConfig(**{**OPEN, **config}))}


def test_floors_of_the_whole_split_pass_at_the_floor_and_fail_under_it() -> None:
    whole = [part({}, 40, accuracy=0.7, macro_recall=0.6, quadratic_kappa=0.5)]
    results = gates(
        whole, minimum_exam_accuracy=0.7, minimum_exam_macro_recall=0.600001, minimum_exam_quadratic_kappa=None
    )
    assert {name: gate.verdict for (name, _), gate in results.items()} == {
        "exam_accuracy": "passed",
        "exam_macro_recall": "failed",
    }
    gate = results["exam_accuracy", "all"]
    assert (gate.threshold, gate.value, gate.n) == ("at least 0.7", 0.7, 40)
    assert gate.ci95 == pytest.approx((0.6, 0.8))


def test_every_class_is_gated_and_an_absent_one_refuses() -> None:
    whole = [part({}, 40, accuracy=0.9, recall_A=0.5, recall_B=0.9, recall_C=0.49, recall_D=None)]
    results = gates(whole, minimum_exam_class_recall=0.5)
    assert [results[f"exam_recall_{c}", "all"].passed for c in "ABCD"] == [True, True, False, False]
    assert results["exam_recall_D", "all"].reason == "The figure is undefined on these exams."


def test_loss_of_kappa_and_lost_dense_grades_are_judged_against_the_pushed_model() -> None:
    def results(kappa: float, flips: float) -> list[bool]:
        whole = [part({}, 100, {"quadratic_kappa": kappa, "dense_flips": flips, "accuracy": 0.2}, accuracy=0.9)]
        found = gates(whole, maximum_kappa_loss=0.05, maximum_dense_flips=0.02)
        assert len(found) == 3
        return [gate.passed for gate in found.values()][1:]

    assert results(-0.05, 0.02) == [True, True]
    assert results(-0.051, 0.021) == [False, False]
    assert results(+0.3, 0.0) == [True, True]
    assert len(gates([part({}, 100, accuracy=0.9)], maximum_kappa_loss=0.05, maximum_dense_flips=0.02)) == 1


def test_one_system_under_its_floor_or_worse_than_before_refuses_the_model() -> None:
    def system(name: str, n: int, value: float | None, change: float) -> dict[str, Any]:
        return part({f.ACQUISITION_SYSTEM: name}, n, {"accuracy": change}, accuracy=value)

    slices = [
        part({}, 100, {"accuracy": 0.1}, accuracy=0.9),
        system("good", 60, 0.9, 0.2),
        system("bad", 21, 0.5, -0.2),
        system("small", 19, 0.1, -0.8),
        part({f.ACQUISITION_SYSTEM: "bad", f.DENSITY: "A"}, 21, {"accuracy": -1.0}, accuracy=0.0),
    ]
    results = gates(slices, minimum_system_metric=0.6, maximum_system_loss=0.1)
    floor, loss = "exam_accuracy by system", "exam_accuracy by system against the latest pushed model"
    assert {key: gate.verdict for key, gate in results.items()} == {
        ("exam_accuracy", "all"): "passed",
        (floor, "good"): "passed",
        (loss, "good"): "passed",
        (floor, "bad"): "failed",
        (loss, "bad"): "failed",
        (floor, "small"): "not judged",
        (loss, "small"): "not judged",
    }
    assert results[loss, "small"].passed
    assert results[loss, "small"].reason == "19 exams; a verdict needs 20."
    assert results[loss, "bad"].threshold == "at least -0.1"
    judged = gates(slices, maximum_system_loss=0.1, minimum_system_exams=19)
    assert judged[loss, "small"].verdict == "failed"


def test_a_system_whose_figure_is_undefined_is_not_judged() -> None:
    slices = [part({}, 100, accuracy=0.9), part({f.ACQUISITION_SYSTEM: "one class"}, 50, quadratic_kappa=None)]
    results = gates(slices, system_metric="quadratic_kappa", minimum_system_metric=0.5)
    assert results["exam_quadratic_kappa by system", "one class"].verdict == "not judged"


def test_configurations_without_any_floor_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least one of the minimum_exam_"):
        EvaluatorConfig(minimum_exam_accuracy=None, minimum_exam_quadratic_kappa=None)
    EvaluatorConfig(minimum_exam_accuracy=None, minimum_exam_quadratic_kappa=None, minimum_exam_class_recall=0.1)


LATEST = "against the latest pushed model"


def recall_change(value: float | None, low: float, high: float, n: int = 21) -> dict[str, Any]:
    return {"value": value, "ci95": None if value is None else (low, high), "n": n}


def with_recalls(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    whole = part({}, 143, {}, accuracy=0.9)
    return [{**whole, "change": {f"recall_{name}": change for name, change in changes.items()}}]


def test_a_class_that_loses_more_recall_than_chance_explains_refuses_the_model() -> None:
    """Three of 21 exams of class A instead of nine: six lost, none gained."""
    lost = np.array([True] * 9 + [False] * 12)
    low, high = paired_interval(np.array([True] * 3 + [False] * 18), lost, np.arange(21)) or (0.0, 0.0)
    slices = with_recalls(
        A=recall_change(-6 / 21, low, high),
        B=recall_change(-0.1, -0.3, 0.02),
        C=recall_change(0.2, 0.1, 0.3),
        D=recall_change(None, 0, 0, n=0),
    )
    results = {name: gate for (name, _), gate in gates(slices).items() if LATEST in name}
    assert {name.split()[0][-1]: gate.verdict for name, gate in results.items()} == {
        "A": "failed",
        "B": "passed",
        "C": "passed",
        "D": "not judged",
    }
    failed = results[f"exam_recall_A {LATEST}"]
    assert (failed.passed, failed.threshold) == (False, "interval reaches +0")
    assert failed.short is not None
    assert failed.short == pytest.approx(-high, abs=1e-6)
    assert failed.short > 0.01
    tolerant = gates(slices, maximum_class_recall_loss=0.2)
    assert tolerant[f"exam_recall_A {LATEST}", "all"].passed
    assert len(gates(slices, maximum_class_recall_loss=None)) == 1


@pytest.mark.parametrize(
    ("low", "on_failure", "verdict", "passed"),
    [(0.01, "refuse", "passed", True), (0.0, "warn", "warning", True), (-0.02, "refuse", "failed", False)],
)
def test_a_gain_that_chance_explains_is_none(low: float, on_failure: str, verdict: str, passed: bool) -> None:
    gain = {"quadratic_kappa": Figure(value=0.05, ci95=(low, 0.2), n=143)}
    config = EvaluatorConfig(**OPEN, minimum_gain_over_baseline={"metric": "quadratic_kappa", "on_failure": on_failure})
    [_, gate] = judge([part({}, 143, accuracy=0.9)], config, GreyComparison(train_exams=286, gain=gain))
    assert (gate.verdict, gate.passed, gate.value, gate.n) == (verdict, passed, 0.05, 143)
    assert gate.short == (None if low > 0 else pytest.approx(-low))
    assert bool(gate.reason) == (low <= 0)


@pytest.mark.parametrize(("on_failure", "verdict"), [("warn", "warning"), ("refuse", "failed")])
def test_without_a_baseline_no_gain_is_shown(on_failure: str, verdict: str) -> None:
    config = EvaluatorConfig(**OPEN, minimum_gain_over_baseline={"on_failure": on_failure})
    grey = GreyComparison(problem="too_few_exams", message="The train split has 3 exams.")
    [_, gate] = judge([part({}, 40, accuracy=0.9)], config, grey)
    assert (gate.verdict, gate.reason, gate.value) == (verdict, "The train split has 3 exams.", None)
    off = EvaluatorConfig(**OPEN, minimum_gain_over_baseline=None)
    assert len(judge([part({}, 40, accuracy=0.9)], off, grey)) == 1


def test_a_missed_gate_says_by_how_much() -> None:
    results = gates([part({}, 40, accuracy=0.7, macro_recall=None)], minimum_exam_accuracy=0.75)
    assert results["exam_accuracy", "all"].short == pytest.approx(0.05)
    undefined = gates([part({}, 40, accuracy=0.7, macro_recall=None)], minimum_exam_macro_recall=0.5)
    assert undefined["exam_macro_recall", "all"].short is None


def test_tfma_computes_three_levels_by_every_slice_and_decides_nothing() -> None:
    for temperatures in ({CANDIDATE: 1.0}, {CANDIDATE: 1.0, BASELINE: 2.0}):
        eval_config = build_eval_config(EvaluatorConfig(), temperatures)
        assert [(m.name, m.is_baseline) for m in eval_config.model_specs] == [(n, n == BASELINE) for n in temperatures]
        assert [(s.query_key, len(s.metrics)) for s in eval_config.metrics_specs] == [(f.EXAM_ID, 2), ("", 1)]
        for spec in eval_config.metrics_specs:
            assert not spec.thresholds
            assert not spec.per_slice_thresholds
    assert {tuple(s.feature_keys) for s in eval_config.slicing_specs} == {
        (),
        *((key,) for key in (f.ACQUISITION_SYSTEM, f.MANUFACTURER, f.DENSITY, f.VIEW, "age_band")),
        (f.PECTORAL_STATUS,),
        (f.ACQUISITION_YEAR,),
        (f.ACQUISITION_SYSTEM, f.DENSITY),
    }
