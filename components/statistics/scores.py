"""Turn images into the observations of a level: views, breasts or exams, combined as in the exam model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from components.statistics.calibration import calibrate
from components.statistics.combination import combine_views
from schema.features import DENSITY_CLASSES, UNKNOWN, VIEWS, laterality_of

Level = Literal["view", "breast", "exam"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
SIDES: Final = {side: tuple(v for v in VIEWS if laterality_of(v) == side) for side in ("R", "L")}
_NO_GRADE: Final = (0.0,) * len(DENSITY_CLASSES)


class ScoreRow(NamedTuple):
    """One observation. Rows are sorted, so that the metrics do not depend on the order of the data.

    Attributes:
        cluster: What the bootstrap draws: the patient, or the exam if the patient is not known.
        key: Exam, plus side or view.
        label: Index of the true class.
        probabilities: Probabilities of the four classes before the temperature; zeros without a grade.
    """

    cluster: str
    key: str
    label: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Scores:
    """The observations that metrics are computed from.

    Attributes:
        keys: Key of each observation, [N].
        labels: int64 [N], index of the true class.
        probabilities: float64 [N, 4], as the model returns them.
        raw: float64 [N, 4], before the temperature; None if the temperature is 1.
        clusters: int64 [N], 0 to G - 1.
        ungraded: Number of observations without a grade; no metric counts them.
        given: int64 [N], index of the given grade, if it need not be the likeliest class; else None.
    """

    keys: tuple[str, ...]
    labels: NDArray[Any]
    probabilities: NDArray[Any]
    raw: NDArray[Any] | None
    clusters: NDArray[Any]
    ungraded: int
    given: NDArray[Any] | None = None

    @property
    def predicted(self) -> NDArray[Any]:
        """Index of the grade, int64 [N]: the given one, else the likeliest; of equal ones the less dense."""
        result: NDArray[Any] = self.probabilities.argmax(axis=1) if self.given is None else self.given
        return result


def cluster_of(patient_id: str, exam_id: str) -> str:
    """Return what the bootstrap draws: the patient, or the exam if the patient is not known."""
    return f"exam {exam_id}" if patient_id in ("", UNKNOWN) else f"patient {patient_id}"


def class_index(letters: Iterable[str], subject: str) -> int:
    """Return the index of the only density class of an exam.

    Raises:
        ValueError: The letters differ or are not a density class.
    """
    found = set(letters)
    if len(found) != 1 or not found <= set(DENSITY_CLASSES):
        raise ValueError(
            f"{subject} needs one density label of {', '.join(DENSITY_CLASSES)}. Received: {sorted(found)}"
        )
    return DENSITY_CLASSES.index(found.pop())


def score_rows(
    level: Level,
    exam_id: str,
    cluster: str,
    label: int,
    views: Sequence[str],
    probabilities: NDArray[Any],
    minimum_views: int = 1,
) -> list[ScoreRow]:
    """Return the observations of one exam.

    Args:
        level: ``view`` gives one row per image, ``breast`` one per side that has a view, ``exam`` one.
        exam_id: The exam.
        cluster: See :func:`cluster_of`.
        label: Index of its class.
        views: View of each image, [N].
        probabilities: Probabilities of each image, float [N, 4].
        minimum_views: An exam with fewer views gets no grade, and its breasts get none.

    Returns:
        The rows.
    """
    images = list(zip(views, np.asarray(probabilities, np.float64).tolist(), strict=True))
    if level == "view":
        return [ScoreRow(cluster, f"{exam_id} {view}", label, tuple(row)) for view, row in images]
    images.sort()  # the last bits of a sum depend on the order, and images come in any order
    graded = len(set(views)) >= minimum_views
    rows = []
    for side, of in (SIDES if level == "breast" else {"": VIEWS}).items():
        combined = combine_views([exam_id] * len(images), [v for v, _ in images], np.array([p for _, p in images]), of)
        for row in combined.probabilities.tolist():
            rows.append(ScoreRow(cluster, f"{exam_id} {side}".rstrip(), label, tuple(row) if graded else _NO_GRADE))
    return rows


def rows_of_side(rows: Iterable[ScoreRow], side: str) -> list[ScoreRow]:
    """Return the breasts of one side, R or L."""
    return [row for row in rows if row.key.endswith(f" {side}")]


def make_scores(rows: Iterable[ScoreRow], temperature: float = 1.0) -> Scores:
    """Combine observations to scores.

    Args:
        rows: Observations in any order.
        temperature: Temperature of the exam model. It is applied to every row, so pass 1 for views.

    Returns:
        The scores, in an order that depends on the rows only.
    """
    ordered = sorted(rows)
    graded = [row for row in ordered if any(row.probabilities)]
    raw = np.asarray([row.probabilities for row in graded], np.float64).reshape(-1, len(DENSITY_CLASSES))
    _, clusters = np.unique([row.cluster for row in graded], return_inverse=True)
    return Scores(
        keys=tuple(row.key for row in graded),
        labels=np.asarray([row.label for row in graded], np.int64),
        probabilities=raw if temperature == 1.0 else calibrate(raw, temperature),
        raw=None if temperature == 1.0 else raw,
        clusters=clusters.astype(np.int64),
        ungraded=len(ordered) - len(graded),
    )
