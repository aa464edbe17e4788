"""Compute the metrics of arms: the parts of the test split, and the Evaluator's functions on each part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluator.predictions import ViewPrediction
from components.exams.distribution import DistributionConfig, SplitDistribution, exams_to_drop
from components.statistics.figures import compare, density_figures
from components.statistics.intervals import Figure
from components.statistics.metrics import COMPARED
from components.statistics.scores import (
    ScoreRow,
    Scores,
    class_index,
    cluster_of,
    make_scores,
    rows_of_side,
    score_rows,
)
from pipeline.experiments.declarations import EXAMS, Key, Part
from schema.features import ACQUISITION_SYSTEM

_TEST = "test"


@dataclass(frozen=True)
class Graded:
    """An arm's predictions on the test split, and how its exam model combines them.

    Attributes:
        rows: Predictions of single images.
        temperature: Temperature of the exam model.
        minimum_views: An exam with fewer views has no grade.
    """

    rows: tuple[ViewPrediction, ...]
    temperature: float = 1.0
    minimum_views: int = 1


def rows_of(rows: Sequence[ViewPrediction], part: Part, seed: str | int) -> list[ViewPrediction]:
    """Return the rows of a part of the test split.

    A class distribution is drawn by exam, as in ingest: the largest subset with the proportions, the same for every
    arm.

    Args:
        rows: Rows of the whole test split.
        part: The part.
        seed: ``pipeline.ingest.split_seed``.

    Returns:
        The rows.
    """
    out: frozenset[str] = frozenset()
    if part.distribution is not None:
        wanted = DistributionConfig(test=SplitDistribution(proportions=part.distribution))
        out = exams_to_drop({row.exam_id: (_TEST, row.label) for row in rows}, wanted, seed)
    return [
        row
        for row in rows
        if row.exam_id not in out
        and part.view in ("", row.view)
        and part.system in ("", row.slices[ACQUISITION_SYSTEM])
    ]


def _observations(graded: Graded, rows: Iterable[ViewPrediction], part: Part) -> list[ScoreRow]:
    exams: dict[str, list[ViewPrediction]] = defaultdict(list)
    for row in rows:
        exams[row.exam_id].append(row)
    found = []
    for exam, images in exams.items():
        found += score_rows(
            "view" if part.view else "breast" if part.side else "exam",
            exam,
            cluster_of(images[0].patient_id, exam),
            class_index((image.label for image in images), f"Exam {exam}"),
            [image.view for image in images],
            np.asarray([image.probabilities for image in images]),
            graded.minimum_views,
        )
    return rows_of_side(found, part.side) if part.side else found


def scores_of(graded: Graded, part: Part, seed: str | int) -> Scores:
    """Return an arm's scores on a part of the test split; single images are not calibrated, as in the Evaluator."""
    observations = _observations(graded, rows_of(graded.rows, part, seed), part)
    return make_scores(observations, 1.0 if part.view else graded.temperature)


def pooled(parts: Sequence[tuple[Graded, Part]], seed: str | int) -> Scores:
    """Pool parts of several arms, without calibration: the temperature does not change the grade."""
    return make_scores(
        [row for graded, part in parts for row in _observations(graded, rows_of(graded.rows, part, seed), part)]
    )


def figures_of(
    scores: Mapping[tuple[str, str], Scores], names: Sequence[str], draws: int, seed: int
) -> dict[Key, Figure]:
    """Compute metrics with 95 % intervals.

    Args:
        scores: Scores by arm and part.
        names: Names of metrics; `EXAMS` is the number of observations.
        draws: Number of bootstrap resamples of the patients.
        seed: Seed of the bootstrap.

    Returns:
        Metrics by arm, part and name.
    """
    found: dict[Key, Figure] = {}
    for (arm, part), observed in scores.items():
        figures = density_figures(observed, draws, seed)
        count = len(observed.labels)
        figures[EXAMS] = Figure(value=float(count), ci95=None, n=count)
        found |= {(arm, part, name): figures[name] for name in names}
    return found


def only_keys(scores: Scores, keys: frozenset[str]) -> Scores:
    """Return the observations with these keys, without the probabilities before the temperature."""
    rows = np.array([key in keys for key in scores.keys], bool)
    _, clusters = np.unique(scores.clusters[rows], return_inverse=True)
    return Scores(
        keys=tuple(key for key in scores.keys if key in keys),
        labels=scores.labels[rows],
        probabilities=scores.probabilities[rows],
        raw=None,
        clusters=clusters.astype(np.int64),
        ungraded=0,
    )


def differences_of(
    scores: Mapping[tuple[str, str], Scores], baseline: str, names: Sequence[str], draws: int, seed: int
) -> dict[Key, Figure]:
    """Compare every arm with the baseline, on the exams that both graded.

    Args:
        scores: Scores by arm and part.
        baseline: Arm that the others are compared with.
        names: Names of metrics; metrics that the Evaluator does not compare are omitted.
        draws: Number of bootstrap resamples. Both arms are resampled together, so that common variation cancels.
        seed: Seed of the bootstrap.

    Returns:
        Differences (arm minus baseline) by arm, part and name.
    """
    found: dict[Key, Figure] = {}
    for (arm, part), observed in scores.items():
        other = scores.get((baseline, part))
        if arm == baseline or other is None:
            continue
        keys = frozenset(observed.keys) & frozenset(other.keys)
        changes = compare(only_keys(observed, keys), only_keys(other, keys), draws, seed)
        found |= {(arm, part, name): changes[name] for name in names if name in COMPARED}
    return found
