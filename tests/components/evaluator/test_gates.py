"""Every gate's verdict, at and beside its threshold, on figures made by hand; and TFMA's configuration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from components.evaluator.config import EvaluatorConfig
from components.evaluator.eval_config import build_eval_config
from components.evaluator.gates import GateResult, judge
from components.evaluator.tfma_metrics import BASELINE, CANDIDATE
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
    assert (gate.threshold, gate.value, gate.n, gate.ci95) == ("at least 0.7", 0.7, 40, pytest.approx((0.6, 0.8)))


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
