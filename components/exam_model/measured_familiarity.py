"""The familiarity of exams in shards, measured with a SavedModel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from components.common.views import View, batched
from components.exam_model.contract import ContractError, FamiliarityFacts
from components.exam_model.saved_model import load_contract
from components.statistics.combination import views_of_exams

_BATCH: Final = 8  # images in memory


@dataclass(frozen=True)
class MeasuredExam:
    """An exam, its acquisition system, and its familiarity: less than 1 is unlike the training exams."""

    exam_id: str
    acquisition_system: str
    familiarity: float

    @property
    def unlike(self) -> bool:
        """Whether the exam is unlike the training exams."""
        return self.familiarity < 1


def familiarity_facts(model_dir: str) -> FamiliarityFacts:
    """Read what a model says about its familiarity; ``available`` is False if it has none, and ``reason`` says why."""
    try:
        known = load_contract(model_dir).familiarity
    except ContractError:
        known = None
    return known or FamiliarityFacts(available=False, reason="the model has no contract, or an older one")


def measure_exams(model_dir: str, known: FamiliarityFacts, views: Iterable[View]) -> list[MeasuredExam]:
    """Measure the familiarity of exams as ``predict_exam`` does.

    Args:
        model_dir: SavedModel of ExamEnsemble.
        known: Its familiarity, which must be available.
        views: Preprocessed views; those of one exam may lie apart. They are read in a stream.

    Returns:
        The exams, in the order of their first view.
    """
    ids: list[str] = []
    names: list[str] = []
    distances: list[float] = []
    systems: dict[str, str] = {}
    ask = (model := tf.saved_model.load(model_dir)).signatures["predict_view"]
    for batch in batched(views, _BATCH):
        answer = ask(
            image_bytes=tf.constant([view.image for view in batch]), view=tf.constant([view.view for view in batch])
        )
        distances += (1 / answer["familiarity"].numpy().astype(np.float64)).tolist()
        ids += [view.exam_id for view in batch]
        names += [view.view for view in batch]
        for view in batch:
            systems.setdefault(view.exam_id, view.acquisition_system)
    del model  # its variables live as long as it does
    exams = views_of_exams(ids, names, np.array(distances))
    return [
        MeasuredExam(exam, systems[exam], float(known.exam_thresholds[len(of) - 1] / of.mean()))
        for exam, of in exams.items()
    ]
