"""The form in which figures of a slice are written as JSON, by the node and by the command ``evaluate`` alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from components.statistics.intervals import SMALL_N, Figure

METRICS_FILE: Final = "exam_metrics.json"  # in the evaluation's folder


def slice_entry(
    chosen: Mapping[str, str],
    matrix: np.ndarray,
    figures: Mapping[str, Figure],
    ungraded: int,
    change: Mapping[str, Figure] | None = None,
) -> dict[str, Any]:
    """Writes a slice.

    Args:
        chosen: Keys and values; empty for all.
        matrix: int [4, 4], rows are the true class.
        figures: By name.
        ungraded: Observations without a grade.
        change: Comparison with the latest pushed model, by name.

    Returns:
        ``slice``, ``n`` (graded), ``ungraded``, ``small`` (too few to judge), ``confusion_matrix``, ``metrics``, and
        ``change`` where there is one.
    """
    n = int(matrix.sum())
    entry: dict[str, Any] = {
        "slice": dict(chosen),
        "n": n,
        "ungraded": ungraded,
        "small": n < SMALL_N,
        "confusion_matrix": matrix.tolist(),
        "metrics": {name: figure.to_dict() for name, figure in sorted(figures.items())},
    }
    if change is not None:
        entry["change"] = {name: figure.to_dict() for name, figure in change.items()}
    return entry
