"""How many test exams the exam model calls unlike its training exams, by acquisition system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import tensorflow as tf

from components.common.views import View, read_views
from components.exam_model.contract import ContractError
from components.exam_model.saved_model import load_contract
from components.statistics.combination import views_of_exams
from components.statistics.intervals import make_figure, wilson_interval
from schema import features as f

FAMILIARITY_FILE: Final = "familiarity.json"
_BATCH: Final = 8  # images in memory
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def measure_familiarity(model_dir: str, folder: str) -> dict[str, Any]:
    """Measure the familiarity of the exams of a split.

    Args:
        model_dir: SavedModel of ExamEnsemble with its contract.
        folder: Split folder of preprocessed examples.

    Returns:
        ``available``, ``reason`` if it is not, and ``slices``: for all exams and for each acquisition system the number
        of exams ``n``, the share that is ``unlike`` the training exams, and ``quantiles`` of the familiarity by level.
    """
    try:
        known = load_contract(model_dir).familiarity
    except ContractError:
        known = None
    if known is None or not known.available:
        reason = known.reason if known else "the model has no contract, or an older one"
        return {"available": False, "reason": reason, "slices": []}
    ids: list[str] = []
    views: list[str] = []
    distances: list[float] = []
    systems: dict[str, str] = {}
    model = tf.saved_model.load(model_dir)
    ask = model.signatures["predict_view"]
    for batch in _batches(read_views(folder)):
        answer = ask(
            image_bytes=tf.constant([view.image for view in batch]), view=tf.constant([view.view for view in batch])
        )
        distances += (1 / answer["familiarity"].numpy().astype(np.float64)).tolist()
        ids += [view.exam_id for view in batch]
        views += [view.view for view in batch]
        for view in batch:
            systems.setdefault(view.exam_id, view.acquisition_system)
    exams = views_of_exams(ids, views, np.array(distances))
    found = {exam: known.exam_thresholds[len(of) - 1] / of.mean() for exam, of in exams.items()}
    slices = [_slice({}, list(found.values()))]
    for system in sorted(set(systems.values())):
        slices.append(_slice({f.ACQUISITION_SYSTEM: system}, [v for e, v in found.items() if systems[e] == system]))
    return {"available": True, "reason": "", "slices": slices if found else []}


def _batches(views: Iterator[View]) -> Iterator[list[View]]:
    while batch := list(islice(views, _BATCH)):
        yield batch


def _slice(chosen: dict[str, str], values: Sequence[float]) -> dict[str, Any]:
    unlike = sum(value < 1 for value in values)
    n = len(values)
    share = make_figure(unlike / n if n else float("nan"), wilson_interval(unlike, n), n)
    levels: Sequence[float] = np.quantile(values, _QUANTILES).tolist() if n else []
    return {
        "slice": chosen,
        "n": n,
        "unlike": share.to_dict(),
        "quantiles": {f"{q:g}": round(float(v), 4) for q, v in zip(_QUANTILES, levels, strict=bool(n))},
    }
