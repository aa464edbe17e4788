"""Compare the model with a regression on grey statistics of the same pictures: what a network has to beat.

The regression is fitted on the train split and grades the test split. Only statistics are kept in memory, 0.3 KB per
view. If it cannot be fitted, the evaluation goes on, and the comparison says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from components.common.views import read_views
from components.evaluator.slices import slice_entry
from components.grey_statistics.classifier import BaselineError, GreyClassifier, ViewStatistics
from components.grey_statistics.measuring import PictureError, measure_view
from components.statistics.figures import compare, confusion_matrix, density_figures
from components.statistics.intervals import Figure
from components.statistics.metrics import CLASS_RECALLS, COMPARED
from components.statistics.scores import ScoreRow, Scores, make_scores
from schema.features import DENSITY_CLASSES

Problem = Literal["", "too_few_exams", "one_class", "no_test_exam", "unreadable_picture"]


class GreyComparison(BaseModel):
    """The baseline's metrics on the test split, and the model's gain, as in ``exam_metrics.json``.

    Attributes:
        problem: Why there is no baseline; empty if there is one.
        message: The problem in one sentence.
        train_exams: Exams of the train split.
        exam: The baseline's metrics, see :func:`components.evaluator.slices.slice_entry`.
        gain: Model minus baseline on the same exams by metric, with paired 95 % intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: Problem = ""
    message: str = ""
    train_exams: int = 0
    exam: dict[str, Any] | None = None
    gain: dict[str, Figure] = {}


def _read(folder: str, labels: dict[str, int], shares: dict[str, tuple[float, ...]]) -> Iterator[ViewStatistics]:
    """Yield the statistics of a split, and fill in the labels of its exams, and the shares of soft labels."""
    for view in read_views(folder):
        labels[view.exam_id] = DENSITY_CLASSES.index(view.density)
        if view.shares:
            shares[view.exam_id] = view.shares
        yield measure_view(view)


def baseline_scores(train: str, test: str, model: Scores) -> tuple[Scores, int]:
    """Fit the baseline on one split, and grade the exams of another.

    Args:
        train: Split folder of preprocessed examples.
        test: Split folder of preprocessed examples.
        model: The model's scores of the test split; their exams and patients are used.

    Returns:
        The baseline's scores of the same exams, and the number of exams of the train split.

    Raises:
        BaselineError: The baseline cannot be fitted.
    """
    labels: dict[str, int] = {}
    shares: dict[str, tuple[float, ...]] = {}
    classifier = GreyClassifier(list(_read(train, labels, shares)), labels, shares)
    exams, probabilities = classifier.predict(_read(test, {}, {}))
    graded = dict(zip(exams, probabilities.tolist(), strict=True))
    rows = [
        ScoreRow(f"{cluster:012d}", key, int(label), tuple(graded[key]))
        for cluster, key, label in zip(model.clusters, model.keys, model.labels, strict=True)
    ]
    return make_scores(rows), len(labels)


def compare_with_grey(train: str, test: str, model: Scores, draws: int, seed: int) -> GreyComparison:
    """Compare the model with the baseline on the test split.

    Args:
        train: Split folder that the baseline is fitted on.
        test: Split folder of the test exams.
        model: The model's scores of the test exams.
        draws: Bootstrap resamples of the patients per interval.
        seed: Seed of the bootstrap.

    Returns:
        Metrics and gain, or the reason why there are none.
    """
    if not model.keys:
        return GreyComparison(problem="no_test_exam", message="The test split has no exam with a grade.")
    try:
        baseline, train_exams = baseline_scores(train, test, model)
    except BaselineError as error:
        return GreyComparison(problem=error.problem, message=str(error))
    except PictureError as error:
        return GreyComparison(problem="unreadable_picture", message=str(error))
    figures = density_figures(baseline, draws, seed)
    changes = compare(model, baseline, draws, seed)
    return GreyComparison(
        train_exams=train_exams,
        exam=slice_entry({}, confusion_matrix(baseline), figures, baseline.ungraded),
        gain={name: changes[name] for name in (*COMPARED, *CLASS_RECALLS)},
    )
