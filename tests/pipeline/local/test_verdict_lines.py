"""What the console says of a refused model, and of a model beside its baseline."""

from __future__ import annotations

from typing import Any

from components.evaluator.config import EvaluatorConfig
from components.evaluator.gates import judge
from components.evaluator.grey_baseline import GreyComparison
from components.statistics.intervals import Figure
from pipeline.local.verdict_lines import baseline_lines, missed_gates, refusals, warned_gates

KAPPA = {"value": 0.6, "ci95": (0.5, 0.7), "n": 143}


def evaluation(gain: tuple[float, float] = (-0.02, 0.1)) -> dict[str, Any]:
    """The content of ``exam_metrics.json``, with real gates."""
    metrics = {name: dict(KAPPA) for name in ("accuracy", "macro_recall", "quadratic_kappa")}
    slices = [{"slice": {}, "n": 143, "metrics": metrics}]
    gains = {name: Figure(value=0.04, ci95=gain, n=143) for name in metrics}
    simple = {"slice": {}, "metrics": {name: {**KAPPA, "value": 0.56} for name in metrics}}
    grey = GreyComparison(train_exams=286, exam=simple, gain=gains)
    config = EvaluatorConfig(minimum_exam_accuracy=0.99, minimum_exam_quadratic_kappa=0.6)
    gates = [gate.model_dump() for gate in judge(slices, config, grey)]
    return {"exam": slices, "gates": gates, "grey_baseline": grey.model_dump(mode="json")}


def test_the_refusing_gate_is_named_with_value_threshold_and_distance() -> None:
    content = evaluation()
    assert missed_gates(content["gates"]) == [
        "exam_accuracy: 0.600 (95 % interval 0.500 to 0.700, n = 143), required: at least 0.99, missed by 0.390"
    ]
    assert warned_gates(content["gates"]) == [
        "exam_quadratic_kappa against grey statistics: 0.040 (95 % interval -0.020 to 0.100, n = 143), required:"
        " interval above +0, missed by 0.020. The model is not shown to be better than grey statistics of the same"
        " pictures."
    ]
    assert warned_gates(evaluation((0.01, 0.1))["gates"]) == []


def test_later_checks_refuse_too() -> None:
    gate = {"name": "energy_in_breast", "slice": "all", "threshold": ">= 0.500", "value": 0.31, "passed": False}
    check = {"name": "predict_exam answers", "passed": False, "seconds": 1.0, "detail": "no such signature"}
    content = {**evaluation(), "gates": []}
    assert refusals(content, {"passed": False, "gates": [gate]}, {"passed": False, "checks": [check]}) == [
        "heat maps, energy_in_breast: 0.310, required: >= 0.500",
        "serving check, predict_exam answers: no such signature",
    ]
    assert refusals(content, {"passed": True, "gates": []}, None) == []


def test_the_baseline_stands_beside_the_network_or_the_reason_why_not() -> None:
    lines = baseline_lines(evaluation())
    assert len(lines) == 3
    assert lines[0].split(maxsplit=3)[3] == (
        "0.600 against 0.560, gain +0.040  (95 % interval -0.020 to +0.100, n = 143)"
    )
    none = GreyComparison(problem="one_class", message="All exams of the train split are of one class.")
    assert baseline_lines({**evaluation(), "grey_baseline": none.model_dump(mode="json")}) == [none.message]
    assert baseline_lines({"exam": [], "gates": []}) == [], "files of older versions"
