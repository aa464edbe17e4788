"""The model beside the readers: agreement in pairs on the test exams that several readers graded."""

from __future__ import annotations

from components.common.views import read_views
from components.statistics.agreement import MODEL, Agreement, RatedExam, agreements
from components.statistics.scores import Scores, cluster_of
from schema.features import DENSITY_CLASSES


def compare_with_readers(test: str, scores: Scores, draws: int) -> tuple[Agreement, ...]:
    """Return the agreement of the model and of each reader with one another.

    Args:
        test: Split folder of the test exams.
        scores: The model's scores of the test exams.
        draws: Bootstrap resamples of the patients per interval.

    Returns:
        One entry per pair; empty if no graded exam has several readers.
    """
    graded = dict(zip(scores.keys, scores.predicted.tolist(), strict=True))
    exams = {
        view.exam_id: RatedExam(
            cluster_of(view.patient_id, view.exam_id),
            {MODEL: DENSITY_CLASSES[graded[view.exam_id]], **dict(view.readings)},
        )
        for view in read_views(test)
        if view.readings and view.exam_id in graded
    }
    return agreements(list(exams.values()), draws)
