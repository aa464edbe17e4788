"""Summarise TFMA's results in one JSON file: metrics with intervals, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray

from components.evaluator.config import EvaluatorConfig
from components.evaluator.gates import judge
from components.evaluator.grey_baseline import GreyComparison
from components.evaluator.slices import has_meaning, slice_entry, slice_value
from components.evaluator.tfma_metrics import CANDIDATE, cell_name, change_name, side_prefix
from components.statistics.intervals import Figure, make_figure
from components.statistics.metrics import BY_NAME, CLASS_RECALLS, COMPARED, FLIPS
from components.statistics.scores import LEVELS, SIDES, Level
from components.statistics.selective import SelectivePoint
from schema import features as f

# Metrics of a slice as TFMA wrote them: value and bounds.
Bounded = tuple[float, tuple[float, float] | None]
Slices = dict[tuple[tuple[str, str], ...], dict[str, Bounded]]


@dataclass(frozen=True)
class Compared:
    """The latest pushed model.

    Attributes:
        version: Its version.
        temperature: Temperature of its exams.
    """

    version: str
    temperature: float


def _bounded(value: Mapping[str, Any]) -> Bounded | None:
    if "boundedValue" in value:
        bounded = value["boundedValue"]
        return float(bounded["value"]), (float(bounded["lowerBound"]), float(bounded["upperBound"]))
    return (float(value["doubleValue"]), None) if "doubleValue" in value else None


def load_slices(evaluation: str, model_name: str) -> Slices:
    """Read TFMA's metrics by slice key and metric name.

    Args:
        evaluation: Folder that TFMA wrote.
        model_name: Name in the EvalConfig; empty if it had only one model.
    """
    slices: Slices = {}
    for key, metrics in tfma.load_eval_result(evaluation, model_name=model_name).slicing_metrics:
        values = metrics.get("", {}).get("", {})
        read = {name: _bounded(value) for name, value in values.items()}
        named = tuple((str(name), slice_value(str(name), value)) for name, value in key)
        slices[named] = {name: value for name, value in read.items() if value is not None}
    return slices


def _matrix(metrics: Mapping[str, Bounded], prefix: str) -> NDArray[Any]:
    indices = range(len(f.DENSITY_CLASSES))
    cells = [[metrics[cell_name(prefix, i, j)][0] for j in indices] for i in indices]
    return np.asarray(cells).round().astype(np.int64)


def _entry(chosen: Mapping[str, str], metrics: Mapping[str, Bounded], prefix: str, compared: bool) -> dict[str, Any]:
    matrix = _matrix(metrics, prefix)

    def figure(stored: str, name: str) -> Figure:
        value, interval = metrics[stored]
        return make_figure(value, interval, BY_NAME[name].count(matrix) if name in BY_NAME else int(matrix.sum()))

    changes = {change_name(prefix, name): name for name in (*COMPARED, *CLASS_RECALLS, FLIPS)}
    marks = tuple(f"{prefix}_{end}" for end in ("true_", "ungraded"))
    names = [s for s in metrics if s.startswith(f"{prefix}_") and not s.startswith(marks) and s not in changes]
    return slice_entry(
        chosen,
        matrix,
        {stored.removeprefix(f"{prefix}_"): figure(stored, stored.removeprefix(f"{prefix}_")) for stored in names},
        ungraded=round(metrics[f"{prefix}_ungraded"][0]),
        change={name: figure(stored, name) for stored, name in changes.items()} if compared else None,
    )


def _entries(slices: Slices, level: Level, compared: bool) -> list[dict[str, Any]]:
    entries = []
    for key, metrics in sorted(slices.items()):
        # A slice of one level may be absent at another level: query keys slice by exam.
        if has_meaning(level, dict(key)) and cell_name(level, 0, 0) in metrics:
            entries.append(_entry(dict(key), metrics, level, compared and level == "exam"))
    if level == "breast":
        entries += [_entry({f.LATERALITY: side}, slices[()], side_prefix(side), False) for side in SIDES]
    return entries


def summarise(
    evaluation: str,
    config: EvaluatorConfig,
    temperature: float = 1.0,
    baseline: Compared | None = None,
    grey: GreyComparison | None = None,
    selective: Sequence[SelectivePoint] = (),
) -> dict[str, Any]:
    """Summarise an evaluation and judge the model.

    Args:
        evaluation: Folder that TFMA wrote.
        config: Gates.
        temperature: Temperature of the model.
        baseline: The model to compare with, if any.
        grey: Comparison with the baseline of grey statistics; None if it was not made.
        selective: The metrics of the most confident exams.

    Returns:
        The content of ``exam_metrics.json``: slices of each level, see
        :func:`components.evaluator.slices.slice_entry`, ``gates``, ``blessed``, ``baseline`` (the latest pushed model),
        ``temperature``, ``grey_baseline`` (see `GreyComparison`), ``selective`` (see `SelectivePoint`).
    """
    slices = load_slices(evaluation, CANDIDATE if baseline else "")
    levels: dict[str, Any] = {level: _entries(slices, level, baseline is not None) for level in reversed(LEVELS)}
    gates = judge(levels["exam"], config, grey)
    return {
        **levels,
        "gates": [gate.model_dump() for gate in gates],
        "blessed": all(gate.passed for gate in gates),
        "baseline": asdict(baseline) if baseline else None,
        "temperature": temperature,
        "grey_baseline": grey.model_dump(mode="json") if grey else None,
        "selective": [point.to_dict() for point in selective],
    }
