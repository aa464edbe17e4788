"""Fit the familiarity of an exam model: distributions to the train split, thresholds to the eval split.

The train split is read in a stream: only moments are kept. The thresholds are conformal quantiles over exams, not over
images, because the images of an exam resemble each other. Exams with fewer views have a mean of fewer distances, so
each number of views has its own threshold, from all subsets of that many views of the eval exams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.views import first_exams, read_views
from components.exam_ensemble.ensemble import GradedSplit, batches_of
from components.exam_model.contract import FamiliarityFacts
from components.exam_model.familiarity import Familiarity, FeatureDistribution
from components.exam_model.signatures import ExamModel
from components.statistics.combination import views_of_exams
from components.statistics.conformal import (
    conformal_threshold,
    exceeding_interval,
    fewest_observations,
    mean_of_subsets,
)
from components.statistics.intervals import make_figure
from components.statistics.shrinkage import ShrunkCovariance, StreamedMoments
from schema.features import VIEWS

FALSE_REFUSALS: Final = 0.05  # share of exams like the training exams that may be called unlike them
_FEWEST_VIEWS: Final = 20  # training views of a network; fewer say too little about a covariance
_FEWEST_EXAMS: Final = fewest_observations(FALSE_REFUSALS)


@dataclass(frozen=True, eq=False)
class FittedDistributions:
    """The distributions of the features of each network, before thresholds.

    Attributes:
        exams: Exams of the train split.
        networks: For each network, in the order of its first view; empty if the networks lack the layers.
        views: Their training views.
    """

    exams: int
    networks: tuple[ShrunkCovariance | None, ...]
    views: tuple[int, ...] = ()

    @property
    def problem(self) -> str:
        """Why there is no familiarity; empty if there can be one."""
        if not self.networks:
            return "it is off, or the networks lack a second and a third stage"
        if min(self.views) < _FEWEST_VIEWS:
            return f"a network has {min(self.views)} training views, and {_FEWEST_VIEWS} are needed"
        return ""

    def familiarity(
        self, units: Sequence[float] | None = None, thresholds: Sequence[float] | None = None
    ) -> Familiarity:
        """Return the form of the model.

        Args:
            units: Distance of each network that counts as 1; None for 1.
            thresholds: Thresholds of exams with one to four views; None for 1.
        """
        units = units or [1.0] * len(self.networks)
        return Familiarity(
            tuple(
                FeatureDistribution(
                    found.mean.astype(np.float32),
                    (found.whitening() / found.scale[:, np.newaxis] / unit).astype(np.float32),
                )
                for found, unit in zip(self.networks, units, strict=True)
                if found is not None
            ),
            tuple(thresholds or [1.0] * len(VIEWS)),
        )


def fit_distributions(model: ExamModel, folder: str, most_exams: int) -> FittedDistributions:
    """Fit the distributions of the networks' features.

    Args:
        model: Exam model without familiarity.
        folder: Split folder of the train split.
        most_exams: Exams to use, the first of the shards: many more change little and cost a forward pass each.
    """
    if not model.statistics or not most_exams:
        return FittedDistributions(0, ())
    strings = tf.TensorSpec([None], tf.string)
    run = tf.function(model.view_statistics, input_signature=[strings, strings], autograph=False)
    count = max(model.network_of_view.values()) + 1
    moments = [StreamedMoments(model.statistics) for _ in range(count)]
    exams: set[str] = set()
    for batch in batches_of(first_exams(read_views(folder), most_exams)):
        exams.update(view.exam_id for view in batch)
        rows = run(tf.constant([view.image for view in batch]), tf.constant([view.view for view in batch])).numpy()
        of_rows = np.array([model.network_of_view[view.view] for view in batch])
        for number, of_network in enumerate(moments):
            of_network.add(rows[of_rows == number])
    networks = tuple(found.shrunk() if found.vectors > 1 else None for found in moments)
    return FittedDistributions(len(exams), networks, tuple(found.vectors for found in moments))


def fit_familiarity(
    model: ExamModel, fitted: FittedDistributions, held_out: GradedSplit
) -> tuple[Familiarity | None, FamiliarityFacts]:
    """Fit the thresholds.

    Args:
        model: Exam model.
        fitted: Distributions of the train split.
        held_out: The eval split, graded by the model with :meth:`FittedDistributions.familiarity`.

    Returns:
        What the model contains, None if it is not available; and what the contract says.
    """
    exams = len(held_out.exams.exam_ids)
    problem = fitted.problem
    if not problem and exams < _FEWEST_EXAMS:
        problem = f"the eval split has {exams} exams, and a threshold needs {_FEWEST_EXAMS}"
    if problem:
        return None, FamiliarityFacts(available=False, reason=problem, train_exams=fitted.exams, eval_exams=exams)
    of_rows = np.array([model.network_of_view[view] for view in held_out.views])
    everything = held_out.distances
    units = [
        _view_threshold(everything[of_rows == number] if (of_rows == number).any() else everything)
        for number in range(len(fitted.networks))
    ]
    relative = everything / np.asarray(units)[of_rows]
    thresholds = exam_thresholds(list(views_of_exams(held_out.exam_ids, held_out.views, relative).values()))
    known = fitted.familiarity(units, thresholds)
    low, high = exceeding_interval(exams, FALSE_REFUSALS)
    facts = FamiliarityFacts(
        available=True,
        layers=model.feature_layers,
        train_exams=fitted.exams,
        train_views=tuple(found.vectors for found in fitted.networks if found is not None),
        shrinkage=tuple(round(found.shrinkage, 6) for found in fitted.networks if found is not None),
        eval_exams=exams,
        exam_thresholds=tuple(round(threshold, 6) for threshold in thresholds),
        false_refusals=make_figure(FALSE_REFUSALS, (low, high), exams),
    )
    return known, facts


def _view_threshold(distances: NDArray[Any]) -> float:
    """Return the distance of a view that counts as 1: the conformal quantile, or the largest if there are few."""
    enough = len(distances) >= _FEWEST_EXAMS
    found = conformal_threshold(distances, FALSE_REFUSALS) if enough else float(distances.max())
    return max(found, float(np.finfo(np.float32).tiny) * 1e6)


def exam_thresholds(exams: Sequence[NDArray[Any]]) -> tuple[float, ...]:
    """Return the largest distance of a familiar exam with one, two, three and four views.

    A number of views that too few exams have takes the threshold of the next smaller one.

    Args:
        exams: Distances of each exam's views; at least as many exams as a threshold needs.
    """
    found: list[float] = []
    for size in range(1, len(VIEWS) + 1):
        means, weights = mean_of_subsets(exams, size)
        enough = round(float(weights.sum())) >= _FEWEST_EXAMS
        found.append(conformal_threshold(means, FALSE_REFUSALS, weights) if enough else found[-1])
    return tuple(found)
