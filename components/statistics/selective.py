"""Selective grading: how good the grades are if only the most confident ones are kept.

Confidence is the largest probability of an exam, as the model returns it. A useful confidence makes the kept grades
better as fewer are kept; a flat curve says that it does not tell right grades from wrong ones.

Source: El-Yaniv, Wiener, On the Foundations of Noise-free Selective Classification, JMLR 11:1605, 2010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.statistics.figures import density_figures
from components.statistics.intervals import Figure
from components.statistics.metrics import CHARTED
from components.statistics.scores import Scores

COVERAGES: Final = tuple(round(1 - 0.05 * step, 2) for step in range(19))  # 1.00, 0.95, ... 0.10


@dataclass(frozen=True)
class SelectivePoint:
    """The grades above one confidence.

    Attributes:
        coverage: Share of the graded exams that keep their grade, 0..1.
        confidence: Smallest confidence of these exams, 0..1.
        n: Number of these exams.
        figures: Accuracy and quadratic kappa of these exams, by name.
    """

    coverage: float
    confidence: float
    n: int
    figures: dict[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        figures = {name: figure.to_dict() for name, figure in self.figures.items()}
        return {"coverage": round(self.coverage, 6), "confidence": round(self.confidence, 6), "n": self.n} | {
            "metrics": figures
        }


def _kept(scores: Scores, kept: NDArray[Any]) -> Scores:
    _, clusters = np.unique(scores.clusters[kept], return_inverse=True)
    return Scores(
        keys=tuple(key for key, chosen in zip(scores.keys, kept, strict=True) if chosen),
        labels=scores.labels[kept],
        probabilities=scores.probabilities[kept],
        raw=None,
        clusters=clusters.astype(np.int64),
        ungraded=0,
        given=None if scores.given is None else scores.given[kept],
    )


def selective_curve(scores: Scores, draws: int, seed: int) -> tuple[SelectivePoint, ...]:
    """Return the metrics of the most confident exams for falling coverages.

    Args:
        scores: Exams.
        draws: Bootstrap resamples of the patients per interval.
        seed: Seed of the bootstrap.

    Returns:
        One point per different set of exams, all exams first. Exams of equal confidence are kept or dropped together.
    """
    count = len(scores.labels)
    confidence = scores.probabilities.max(axis=1, initial=0.0)
    falling = np.sort(confidence)[::-1]
    points: list[SelectivePoint] = []
    for coverage in COVERAGES if count else ():
        least = falling[max(1, round(coverage * count)) - 1]
        kept = confidence >= least
        n = int(kept.sum())
        if not points or n < points[-1].n:
            figures = density_figures(_kept(scores, kept), draws, seed, CHARTED)
            points.append(SelectivePoint(n / count, float(least), n, figures))
    return tuple(points)
