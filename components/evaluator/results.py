"""TFMA's results as figures with intervals, in one JSON file that report, demo and people read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import tensorflow_model_analysis as tfma

from components.evaluator.config import EvaluatorConfig
from components.evaluator.confusion import figures_with_intervals
from components.evaluator.eval_config import BASELINE, CANDIDATE
from components.evaluator.metrics import cell_name
from schema import features as f

METRICS_FILE: Final = "exam_metrics.json"
_INDICES: Final = range(len(f.DENSITY_CLASSES))

Slices = dict[tuple[tuple[str, str], ...], dict[str, float]]


def load_slices(evaluation: str, model_name: str) -> Slices:
    """Reads TFMA's scalar metrics by slice key and metric name.

    Args:
        evaluation: Folder that TFMA wrote.
        model_name: Name in the EvalConfig; empty where it had one model alone.
    """
    result = tfma.load_eval_result(evaluation, model_name=model_name)
    slices: Slices = {}
    for key, metrics in result.slicing_metrics:
        values = metrics.get("", {}).get("", {})
        named = tuple((str(name), str(value)) for name, value in key)
        slices[named] = {name: float(value["doubleValue"]) for name, value in values.items() if "doubleValue" in value}
    return slices


def confusion_matrix(metrics: dict[str, float], level: str) -> np.ndarray:
    """Puts a slice's cells together: int64 [4, 4], rows are the true class."""
    cells = [[metrics.get(cell_name(level, i, j), 0.0) for j in _INDICES] for i in _INDICES]
    return np.asarray(cells).round().astype(np.int64)


def _slices_of_level(slices: Slices, level: str, config: EvaluatorConfig) -> Iterable[dict[str, Any]]:
    for key, metrics in sorted(slices.items()):
        if level == "exam" and any(name == f.VIEW for name, _ in key):
            continue  # an exam is in every view's slice with all its views: such a figure says nothing
        matrix = confusion_matrix(metrics, level)
        figures = figures_with_intervals(matrix, config.bootstrap_draws, config.seed)
        yield {
            "slice": dict(key),
            "n": int(matrix.sum()),
            "confusion_matrix": matrix.tolist(),
            "metrics": {name: figure.to_dict() for name, figure in figures.items()},
        }


def _gates(candidate: Slices, baseline: Slices | None, config: EvaluatorConfig) -> Iterable[dict[str, Any]]:
    overall = candidate[()]
    for name, floor in config.floors().items():
        value = overall[name]
        yield {
            "name": name,
            "slice": "all",
            "threshold": f"at least {floor:g}",
            "value": None if math.isnan(value) else value,
            "passed": value >= floor,
        }
    if baseline is not None and config.maximum_kappa_loss is not None:
        change = overall["exam_quadratic_kappa"] - baseline[()]["exam_quadratic_kappa"]
        yield {
            "name": "exam_quadratic_kappa against the latest pushed model",
            "slice": "all",
            "threshold": f"at least {-config.maximum_kappa_loss:+g}",
            "value": None if math.isnan(change) else change,
            "passed": change >= -config.maximum_kappa_loss,
        }


def summarise(
    evaluation: str, config: EvaluatorConfig, *, blessed: bool, baseline_version: str | None
) -> dict[str, Any]:
    """Summarises an evaluation.

    Args:
        evaluation: Folder that TFMA wrote.
        config: Gates and intervals.
        blessed: TFMA's verdict.
        baseline_version: Version of the model compared with, if any.

    Returns:
        What ``exam_metrics.json`` holds: ``exam`` and ``view`` slices with confusion matrix, figures and intervals,
        ``gates``, ``blessed``, ``baseline``.
    """
    candidate = load_slices(evaluation, CANDIDATE if baseline_version else "")
    baseline = load_slices(evaluation, BASELINE) if baseline_version else None
    return {
        "exam": list(_slices_of_level(candidate, "exam", config)),
        "view": list(_slices_of_level(candidate, "view", config)),
        "gates": list(_gates(candidate, baseline, config)),
        "blessed": blessed,
        "baseline": {"version": baseline_version} if baseline_version else None,
    }
