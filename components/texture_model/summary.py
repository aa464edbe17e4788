"""Summarise a texture model for people: the features by their distribution and their weight for each class."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from components.texture.arrays import TextureArrays
from components.texture.view_vector import VECTOR
from schema.features import DENSITY_CLASSES

SUMMARY_FILE: Final = "texture_summary.json"
_PERCENTILES: Final = (5, 50, 95)


def summarise(arrays: TextureArrays) -> dict[str, Any]:
    """Return the summary.

    Args:
        arrays: The fitted model.

    Returns:
        ``side``, pixels; ``training_views`` by class; ``trees``; ``features``: for each its ``percentiles`` 5, 50 and
        95 of the training exams, its ``weight``: the change of each class's logit when it rises by one standard
        deviation, less the mean over the classes, and ``nodes``: how many nodes of the trees ask for it.
    """
    relative = arrays.coefficients - arrays.coefficients.mean(axis=0)
    nodes = np.bincount(arrays.feature[arrays.feature >= 0], minlength=len(VECTOR)).tolist()
    return {
        "side": int(arrays.side),
        "training_views": dict(zip(DENSITY_CLASSES, arrays.views.tolist(), strict=True)),
        "trees": len(arrays.feature),
        "features": {
            name: {
                "percentiles": {str(p): float(arrays.percentiles[row, p]) for p in _PERCENTILES},
                "weight": dict(zip(DENSITY_CLASSES, (float(value) for value in relative[:, row]), strict=True)),
                "nodes": nodes[row],
            }
            for row, name in enumerate(VECTOR)
        },
    }
