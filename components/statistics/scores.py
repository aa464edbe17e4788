"""Images become the observations of a level: single views, breasts, or exams, combined as the exam model does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from components.statistics.calibration import calibrate
from components.statistics.combination import combine_views
from schema.features import DENSITY_CLASSES, UNKNOWN, VIEWS, laterality_of

Level = Literal["view", "breast", "exam"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
SIDES: Final = {side: tuple(v for v in VIEWS if laterality_of(v) == side) for side in ("R", "L")}
_NO_GRADE: Final = (0.0,) * len(DENSITY_CLASSES)


class ScoreRow(NamedTuple):
    """One observation. Sorted rows give the same figures whatever the order of the data.

    Attributes:
        cluster: Patient, or the exam where the patient is not known: what is drawn by the bootstrap.
        key: Exam, and side or view.
        label: Index of the true class.
        probabilities: Of the four classes, before the temperature; zeros where there is no grade.
    """

    cluster: str
    key: str
    label: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Scores:
    """What figures are computed from.

    Attributes:
        keys: Of each observation, [N].
        labels: int64 [N], index of the true class.
        probabilities: float64 [N, 4], as the model gives them.
        raw: float64 [N, 4], before the temperature; None where it changes nothing.
        clusters: int64 [N], 0 to G - 1.
        ungraded: Observations without a grade, which are in no figure.
    """

    keys: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    raw: np.ndarray | None
    clusters: np.ndarray
    ungraded: int

    @property
    def predicted(self) -> np.ndarray:
        """Index of the class given, int64 [N]; equal probabilities give the less dense class, as in the model."""
        return self.probabilities.argmax(axis=1)


def cluster_of(patient_id: str, exam_id: str) -> str:
    """Names what is drawn by the bootstrap: the patient, or the exam where the patient is not known."""
    return f"exam {exam_id}" if patient_id in ("", UNKNOWN) else f"patient {patient_id}"


def class_index(letters: Iterable[str], subject: str) -> int:
    """Gives the index of an exam's one density class.

    Raises:
        ValueError: The letters differ, or are no density class.
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
    probabilities: np.ndarray,
    minimum_views: int = 1,
) -> list[ScoreRow]:
    """Makes the observations of one exam.

    Args:
        level: ``view`` gives one row an image, ``breast`` one a side that has a view, ``exam`` one.
        exam_id: The exam.
        cluster: See :func:`cluster_of`.
        label: Index of its class.
        views: View of each image, [N].
        probabilities: float [N, 4], of each image.
        minimum_views: An exam of fewer views has no grade, nor have its breasts.

    Returns:
        The rows.
    """
    images = list(zip(views, np.asarray(probabilities, np.float64).tolist(), strict=True))
    if level == "view":
        return [ScoreRow(cluster, f"{exam_id} {view}", label, tuple(row)) for view, row in images]
    images.sort()  # a sum's last bits depend on the order, and images come in any
    graded = len(set(views)) >= minimum_views
    rows = []
    for side, of in (SIDES if level == "breast" else {"": VIEWS}).items():
        combined = combine_views([exam_id] * len(images), [v for v, _ in images], np.array([p for _, p in images]), of)
        for row in combined.probabilities.tolist():
            rows.append(ScoreRow(cluster, f"{exam_id} {side}".rstrip(), label, tuple(row) if graded else _NO_GRADE))
    return rows


def rows_of_side(rows: Iterable[ScoreRow], side: str) -> list[ScoreRow]:
    """Gives the breasts of one side, R or L."""
    return [row for row in rows if row.key.endswith(f" {side}")]


def make_scores(rows: Iterable[ScoreRow], temperature: float = 1.0) -> Scores:
    """Puts observations together.

    Args:
        rows: In any order.
        temperature: Of the exam model; applied to every row, so only to breasts and exams pass another than 1.

    Returns:
        The scores, in an order that depends on the rows alone.
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
