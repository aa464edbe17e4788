"""How many test exams the exam model calls unlike its training exams, by acquisition system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from components.common.views import read_views
from components.exam_model.measured_familiarity import MeasuredExam, familiarity_facts, measure_exams
from components.statistics.intervals import make_figure, wilson_interval
from schema import features as f

FAMILIARITY_FILE: Final = "familiarity.json"
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def measure_familiarity(model_dir: str, folder: str) -> dict[str, Any]:
    """Measure the familiarity of the exams of a split.

    Args:
        model_dir: SavedModel of ExamEnsemble with its contract.
        folder: Split folder of preprocessed examples.

    Returns:
        ``available``, ``reason`` if it is not, and ``slices``: for all exams and for each acquisition system the number
        of exams ``n``, the share that is ``unlike`` the training exams, and ``quantiles`` of the familiarity by level.
    """
    known = familiarity_facts(model_dir)
    if not known.available:
        return {"available": False, "reason": known.reason, "slices": []}
    exams = measure_exams(model_dir, known, read_views(folder))
    slices = [_slice({}, exams)]
    for system in sorted({exam.acquisition_system for exam in exams}):
        of_system = [exam for exam in exams if exam.acquisition_system == system]
        slices.append(_slice({f.ACQUISITION_SYSTEM: system}, of_system))
    return {"available": True, "reason": "", "slices": slices if exams else []}


def _slice(chosen: dict[str, str], exams: Sequence[MeasuredExam]) -> dict[str, Any]:
    unlike, n = sum(exam.unlike for exam in exams), len(exams)
    share = make_figure(unlike / n if n else float("nan"), wilson_interval(unlike, n), n)
    levels: Sequence[float] = np.quantile([exam.familiarity for exam in exams], _QUANTILES).tolist() if n else []
    return {
        "slice": chosen,
        "n": n,
        "unlike": share.to_dict(),
        "quantiles": {f"{q:g}": round(float(v), 4) for q, v in zip(_QUANTILES, levels, strict=bool(n))},
    }
