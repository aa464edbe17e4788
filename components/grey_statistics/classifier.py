"""The baseline: a regularised ordinal regression on the grey statistics of an exam.

Statistics are standardised by kind of view (CC, MLO) on the train split and averaged over the views of an exam, several
images of one view counting as one, so that a missing view biases nothing. Three logistic regressions give P(y > k) for
k = A, B, C; made monotone, their differences are the probabilities of the classes.

The strength of the regularisation is fixed: a baseline that is tuned on the data is another model to defend. In five
folds over 286 film exams any strength from .2 to 1 gave a quadratic kappa within .02.

Source: Frank, Hall, A Simple Approach to Ordinal Classification, ECML 2001.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from components.grey_statistics.features import FEATURES
from schema.features import DENSITY_CLASSES, is_mlo

MINIMUM_EXAMS: Final = 20  # of the train split; fewer fit mostly noise
_INVERSE_STRENGTH: Final = 0.5  # scikit-learn's C
_STEPS: Final = 2000
_SMALLEST: Final = 1e-9

Problem = Literal["too_few_exams", "one_class"]


class BaselineError(ValueError):
    """The baseline cannot be fitted to these exams.

    Attributes:
        problem: Short name.
    """

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem: Problem = problem


@dataclass(frozen=True, eq=False)
class ViewStatistics:
    """Grey statistics of one view.

    Attributes:
        exam_id: Its exam.
        view: One of VIEWS.
        values: float64 [F], see :func:`components.grey_statistics.features.grey_statistics`.
    """

    exam_id: str
    view: str
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Standard:
    mean: NDArray[Any]
    deviation: NDArray[Any]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> _Standard:
        deviation = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(deviation > _SMALLEST, deviation, 1.0))

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        scaled: NDArray[Any] = (rows - self.mean) / self.deviation
        return scaled


def _by_view(views: Iterable[ViewStatistics]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the statistics by exam and view; several images of one view are averaged. Sorted."""
    images: dict[str, dict[str, list[NDArray[Any]]]] = defaultdict(lambda: defaultdict(list))
    for view in views:
        images[view.exam_id][view.view].append(view.values)
    return {
        exam: {view: np.sort(np.stack(rows), axis=0).mean(axis=0) for view, rows in sorted(found.items())}
        for exam, found in sorted(images.items())
    }


def _exam_rows(exams: dict[str, dict[str, NDArray[Any]]], standards: dict[bool, _Standard]) -> NDArray[Any]:
    """Return the mean of the standardised views of each exam, float64 [E, F]; unknown kinds of view are left out."""
    rows = np.zeros((len(exams), len(FEATURES)))
    for row, views in enumerate(exams.values()):
        known = [standards[is_mlo(view)](values) for view, values in views.items() if is_mlo(view) in standards]
        rows[row] = np.mean(known, axis=0) if known else 0.0
    return rows


def _above(k: int, shares: Sequence[float] | None, label: int) -> float:
    """Return the share of an exam's readers who chose a class above k."""
    return round(sum(shares[k + 1 :]), 6) if shares else float(label > k)  # shares are float32: thirds exceed 1


def _fit(model: Any, rows: NDArray[Any], above: NDArray[Any]) -> Any:
    """Fit a binary model to shares: an exam between 0 and 1 counts in parts for both sides."""
    if np.isin(above, (0, 1)).all():
        return model.fit(rows, above > 0)
    yes, no = np.flatnonzero(above > 0), np.flatnonzero(above < 1)
    weights = np.concatenate([above[yes], 1 - above[no]])
    sides = np.repeat([True, False], [len(yes), len(no)])
    return model.fit(np.concatenate([rows[yes], rows[no]]), sides, weights)


class GreyClassifier:
    """The fitted baseline."""

    def __init__(
        self,
        views: Sequence[ViewStatistics],
        labels: Mapping[str, int],
        shares: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Fit it; equal exams give equal coefficients, in any order.

        Args:
            views: Views of the train split.
            labels: Index of the class by exam.
            shares: Distribution of the classes by exam, of exams with soft labels.

        Raises:
            BaselineError: There are too few exams, or all are of one class.
        """
        from sklearn.linear_model import LogisticRegression  # not above: only the extra `pipeline` has it

        exams = _by_view(views)
        truth = np.array([labels[exam] for exam in exams], np.int64)
        if len(exams) < MINIMUM_EXAMS:
            raise BaselineError(
                "too_few_exams",
                f"The train split has {len(exams)} exams and the baseline of grey statistics needs {MINIMUM_EXAMS}.",
            )
        if len(np.unique(truth)) < 2:
            raise BaselineError("one_class", "All exams of the train split are of one class: nothing can be learned.")
        kinds: dict[bool, list[NDArray[Any]]] = defaultdict(list)
        for found in exams.values():
            for view, values in found.items():
                kinds[is_mlo(view)].append(values)
        self._standards = {kind: _Standard.of(np.stack(rows)) for kind, rows in sorted(kinds.items())}
        rows = _exam_rows(exams, self._standards)
        self._exam = _Standard.of(rows)  # the mean of four views varies less than a view
        self._models: list[LogisticRegression | float] = []
        for k in range(len(DENSITY_CLASSES) - 1):
            above = np.array([_above(k, (shares or {}).get(exam), labels[exam]) for exam in exams])
            if above.min() == 1 or above.max() == 0:  # a class at the end of the scale has no exam
                self._models.append(float(above[0]))
                continue
            model = LogisticRegression(C=_INVERSE_STRENGTH, max_iter=_STEPS)
            self._models.append(_fit(model, self._exam(rows), above))

    def predict(self, views: Iterable[ViewStatistics]) -> tuple[tuple[str, ...], NDArray[Any]]:
        """Grade exams.

        Args:
            views: Their views.

        Returns:
            The exams, sorted, and their probabilities, float64 [E, 4].
        """
        exams = _by_view(views)
        if not exams:
            return (), np.zeros((0, len(DENSITY_CLASSES)))
        rows = self._exam(_exam_rows(exams, self._standards))
        denser = [
            np.full(len(rows), model) if isinstance(model, float) else model.predict_proba(rows)[:, 1]
            for model in self._models
        ]
        falling = np.minimum.accumulate(np.stack([np.ones(len(rows)), *denser, np.zeros(len(rows))], axis=1), axis=1)
        return tuple(exams), -np.diff(falling, axis=1)
