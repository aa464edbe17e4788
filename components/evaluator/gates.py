"""Judge the gates: the conditions for the blessing of a model, from its metrics only.

A gate of the whole test split that cannot be evaluated rejects the model: a split without class D proves nothing about
class D. A gate per acquisition system is not judged if the system has too few exams, and its result says so; nor is the
loss of recall in a class without test exams.

Most gates judge the value. Two judge its interval: the loss of recall by class, because a class has few exams, and the
gain over the baseline, because a gain that chance explains is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from components.evaluator.config import EvaluatorConfig, GainConfig
from components.evaluator.grey_baseline import GreyComparison
from components.statistics.intervals import Figure
from components.statistics.metrics import CLASS_RECALLS, FLIPS
from schema import features as f

Verdict = Literal["passed", "failed", "warning", "not judged"]
_ROUNDING: Final = 1e-9  # metrics are rounded to six digits; 0.7 must reach 0.7
_DIGITS: Final = 6
_LATEST: Final = "against the latest pushed model"


class GateResult(BaseModel):
    """The result of one gate, as in ``exam_metrics.json``.

    Attributes:
        name: The judged metric.
        slice: ``all``, or the acquisition system.
        threshold: Condition, in words.
        value: The metric; None if it is undefined.
        ci95: Its 95 % interval.
        n: Exams behind the metric.
        verdict: The verdict; ``warning`` is a gate that was missed and refuses nothing.
        passed: False only for a gate that failed.
        reason: Why the gate was not judged, could not be evaluated, or only warns.
        short: By how much the judged number misses the threshold; None if nothing is missed or the number is undefined.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    slice: str = "all"
    threshold: str
    value: float | None
    ci95: tuple[float, float] | None
    n: int
    verdict: Verdict
    passed: bool
    reason: str = ""
    short: float | None = None


def _result(
    name: str, figure: Mapping[str, Any] | None, bound: float, at_least: bool, where: str = "all", signed: bool = False
) -> GateResult:
    figure = figure or {"value": None, "ci95": None, "n": 0}
    value = figure["value"]
    distance = math.nan if value is None else (value - bound if at_least else bound - value)
    passed = distance >= -_ROUNDING
    return GateResult(
        name=name,
        slice=where,
        threshold=f"at {'least' if at_least else 'most'} {bound:{'+' if signed else ''}g}",
        value=value,
        ci95=figure["ci95"],
        n=figure["n"],
        verdict="passed" if passed else "failed",
        passed=passed,
        reason="" if value is not None else "The figure is undefined on these exams.",
        short=None if passed or value is None else round(-distance, _DIGITS),
    )


def _not_judged(result: GateResult, reason: str) -> GateResult:
    return result.model_copy(update={"verdict": "not judged", "passed": True, "reason": reason})


def _overall(overall: Mapping[str, Any], config: EvaluatorConfig) -> Iterator[GateResult]:
    metrics = overall["metrics"]
    for name, floor in config.floors().items():
        yield _result(f"exam_{name}", metrics.get(name), floor, at_least=True)
    if config.minimum_exam_class_recall is not None:
        for density in f.DENSITY_CLASSES:
            name = f"recall_{density}"
            yield _result(f"exam_{name}", metrics.get(name), config.minimum_exam_class_recall, at_least=True)


def _against_baseline(overall: Mapping[str, Any], config: EvaluatorConfig) -> Iterator[GateResult]:
    changes = overall["change"]
    if config.maximum_kappa_loss is not None:
        change = changes.get("quadratic_kappa")
        yield _result(f"exam_quadratic_kappa {_LATEST}", change, -config.maximum_kappa_loss, at_least=True, signed=True)
    if config.maximum_dense_flips is not None:
        yield _result(f"dense grades lost {_LATEST}", changes.get(FLIPS), config.maximum_dense_flips, at_least=False)
    if config.maximum_class_recall_loss is not None:
        for name in CLASS_RECALLS:
            if name in changes:
                yield _recall_loss(name, changes[name], config.maximum_class_recall_loss)


def _recall_loss(name: str, change: Mapping[str, Any], tolerated: float) -> GateResult:
    """Judge the upper end of the paired interval: above it, chance explains the loss or there is none."""
    result = _result(f"exam_{name} {_LATEST}", change, -tolerated, at_least=True, signed=True)
    result = result.model_copy(update={"threshold": f"interval reaches {0.0 - tolerated:+g}"})
    if result.value is None or result.ci95 is None:
        return _not_judged(result, "No test exam of this class.")
    missing = -tolerated - result.ci95[1]
    passed = missing <= _ROUNDING
    update = {"passed": passed, "verdict": "passed" if passed else "failed"}
    return result.model_copy(update=update | {"short": None if passed else round(missing, _DIGITS)})


def _gain(grey: GreyComparison, gain: GainConfig) -> GateResult:
    """Judge the lower end of the paired interval: only a gain that chance does not explain is shown."""
    figure = grey.gain.get(gain.metric) or Figure(value=None, ci95=None, n=0)
    shown = figure.ci95 is not None and figure.ci95[0] > gain.minimum
    reason = grey.message
    if not shown and not reason:
        reason = "The model is not shown to be better than grey statistics of the same pictures."
    refuses = gain.on_failure == "refuse"
    return GateResult(
        name=f"exam_{gain.metric} against grey statistics",
        threshold=f"interval above {gain.minimum:+g}",
        value=figure.value,
        ci95=figure.ci95,
        n=figure.n,
        verdict="passed" if shown else "failed" if refuses else "warning",
        passed=shown or not refuses,
        reason="" if shown else reason,
        short=None if shown or figure.ci95 is None else round(gain.minimum - figure.ci95[0], _DIGITS),
    )


def _by_system(system: Mapping[str, Any], config: EvaluatorConfig) -> Iterator[GateResult]:
    where, name = system["slice"][f.ACQUISITION_SYSTEM], config.system_metric
    results = []
    if config.minimum_system_metric is not None:
        floor = config.minimum_system_metric
        results.append(_result(f"exam_{name} by system", system["metrics"].get(name), floor, True, where))
    if config.maximum_system_loss is not None and "change" in system:
        loss = -config.maximum_system_loss
        title = f"exam_{name} by system {_LATEST}"
        results.append(_result(title, system["change"].get(name), loss, True, where, signed=True))
    for result in results:
        if system["n"] < config.minimum_system_exams:
            yield _not_judged(result, f"{system['n']} exams; a verdict needs {config.minimum_system_exams}.")
        elif result.value is None:
            yield _not_judged(result, result.reason)
        else:
            yield result


def judge(
    exam_slices: Sequence[Mapping[str, Any]], config: EvaluatorConfig, grey: GreyComparison | None = None
) -> list[GateResult]:
    """Apply every configured gate.

    Args:
        exam_slices: Exam-level slices as in ``exam_metrics.json``: ``slice``, ``n``, ``metrics`` and, if a model was
            pushed before, ``change``.
        config: Gates.
        grey: Comparison with the baseline of grey statistics.

    Returns:
        One result per gate; the model is blessed if no gate failed.
    """
    overall = next(part for part in exam_slices if not part["slice"])
    results = list(_overall(overall, config))
    if "change" in overall:
        results += _against_baseline(overall, config)
    if grey is not None and config.minimum_gain_over_baseline is not None:
        results.append(_gain(grey, config.minimum_gain_over_baseline))
    for part in exam_slices:
        if set(part["slice"]) == {f.ACQUISITION_SYSTEM}:
            results += _by_system(part, config)
    return results
