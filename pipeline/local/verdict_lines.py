"""What the console says about a model: why it was refused, by how much, and what it gains over a simple baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from components.statistics.metrics import short_name

_GAINS: Final = ("quadratic_kappa", "accuracy", "macro_recall")


def _measured(gate: Mapping[str, Any]) -> str:
    if gate.get("value") is None:
        return "undefined"
    parts = []
    if gate.get("ci95"):
        parts.append("95 % interval {:.3f} to {:.3f}".format(*gate["ci95"]))
    if gate.get("n") is not None:
        parts.append(f"n = {gate['n']}")
    return f"{gate['value']:.3f}" + (f" ({', '.join(parts)})" if parts else "")


def _gate_line(gate: Mapping[str, Any]) -> str:
    where = "" if gate["slice"] in ("", "all") else f" of {gate['slice']}"
    short = "" if gate.get("short") is None else f", missed by {gate['short']:.3f}"
    reason = f". {gate['reason']}" if gate.get("reason") else ""
    return f"{gate['name']}{where}: {_measured(gate)}, required: {gate['threshold']}{short}{reason}"


def missed_gates(gates: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line per failed gate: its name, slice, value, threshold, and by how much it was missed."""
    return [_gate_line(gate) for gate in gates if not gate["passed"]]


def warned_gates(gates: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line per gate that was missed and only warns."""
    return [_gate_line(gate) for gate in gates if gate.get("verdict") == "warning"]


def refusals(
    evaluation: Mapping[str, Any], explanations: Mapping[str, Any] | None, infra: Mapping[str, Any] | None
) -> list[str]:
    """Return why a model was not pushed, one line per reason.

    Args:
        evaluation: The Evaluator's ``exam_metrics.json``.
        explanations: GradCamExplainer's ``summary.json``.
        infra: InfraCheck's ``infra.json``.
    """
    lines = missed_gates(evaluation["gates"])
    if explanations is not None and not explanations["passed"]:
        lines += [f"heat maps, {line}" for line in missed_gates(explanations.get("gates", ()))] or ["heat maps failed"]
    if infra is not None and not infra["passed"]:
        lines += [
            f"serving check, {check['name']}: {check['detail']}" for check in infra["checks"] if not check["passed"]
        ]
    return lines


def baseline_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the comparison of the model with grey statistics, one line per metric, or why there is none."""
    grey = evaluation.get("grey_baseline")
    if grey is None:
        return []
    if grey["problem"]:
        return [grey["message"]]
    [overall] = [part for part in evaluation["exam"] if not part["slice"]]
    lines = []
    for name in _GAINS:
        model, simple, gain = (part[name] for part in (overall["metrics"], grey["exam"]["metrics"], grey["gain"]))
        if gain["value"] is None:
            lines.append(f"{short_name(name):<28} undefined (n = {gain['n']})")
            continue
        interval = "95 % interval {:+.3f} to {:+.3f}".format(*gain["ci95"]) if gain["ci95"] else "no interval"
        pair = f"{model['value']:.3f} against {simple['value']:.3f}"
        lines.append(f"{short_name(name):<28} {pair}, gain {gain['value']:+.3f}  ({interval}, n = {gain['n']})")
    return lines
