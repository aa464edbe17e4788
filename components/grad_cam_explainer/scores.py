"""Scores of heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def energy_in_breast(heatmap: np.ndarray, image: np.ndarray) -> float | None:
    """Computes which share of the heat lies on the breast ("energy-based pointing game").

    Source: Wang et al., Score-CAM, 2020, arXiv 1910.01279, section 4.2.

    Args:
        heatmap: float [H, W], 0..1.
        image: uint8 [H, W], preprocessed: the background is 0.

    Returns:
        0..1, or None for a map without heat.
    """
    total = float(heatmap.sum())
    return float(heatmap[image > 0].sum()) / total if total > 0 else None


def mean_with_interval(values: Sequence[float]) -> dict[str, object]:
    """Averages scores: mean, normal 95 % interval, and count, as JSON has them."""
    count = len(values)
    if count == 0:
        return {"mean": None, "ci95": None, "n": 0}
    mean = float(np.mean(values))
    if count == 1:
        return {"mean": round(mean, 6), "ci95": None, "n": 1}
    half = 1.959964 * float(np.std(values, ddof=1)) / math.sqrt(count)
    return {"mean": round(mean, 6), "ci95": [round(mean - half, 6), round(mean + half, 6)], "n": count}
