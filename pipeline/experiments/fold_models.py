"""Models that are not networks, on the same folds: quick to fit, so all folds and seeds of one run in one process.

``texture`` is the texture model of the mixed classifier. It grades single views, as networks do. ``grey`` is the
Evaluator's baseline, a regression on the grey statistics of an exam. It has no seed, and its table has the grade of the
exam at each of its views, so that the mean of views is that grade.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from components.common.files import write_whole
from components.common.fingerprint import code_fingerprint
from components.texture.config import TextureConfig
from pipeline.experiments.fold_training import FoldData, silence
from pipeline.experiments.folds import Fold
from schema.features import ACQUISITION_SYSTEM, DENSITY_CLASSES, VIEWS

if TYPE_CHECKING:  # TensorFlow takes seconds
    from components.common.views import View

TEXTURE: Final = "texture"
GREY: Final = "grey"
MODELS: Final = (TEXTURE, GREY)
_DECIDES: Final = {
    TEXTURE: ("components.texture.fitting", "components.texture.measuring", "components.texture.classifier"),
    GREY: ("components.grey_statistics.classifier", "components.grey_statistics.measuring"),
}
_BATCH: Final = 16  # pictures in memory


@dataclass(frozen=True)
class ModelJob:
    """One fit.

    Attributes:
        fold: The exams; those that choose a network's epoch are not used.
        config: Settings of the texture model, with the seed of this job; None fits the grey statistics.
        table: CSV to write, with a summary beside it.
    """

    fold: Fold
    config: TextureConfig | None
    table: Path

    @property
    def summary(self) -> Path:
        """JSON file with the summary of the fit."""
        return self.table.with_suffix(".json")


def model_key(data: FoldData, fold: Fold, config: TextureConfig | None) -> str:
    """Return a hash of all that decides the predictions of a job: data, settings, exams and code."""
    decides = {
        "data": data.fingerprint,
        "config": config.model_dump(mode="json") if config else None,
        "fold": asdict(fold),
        "code": [code_fingerprint(name) for name in _DECIDES[TEXTURE if config else GREY]],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class _Measured:
    """The archive's views without their pictures, sorted by exam and view, and their vectors, float32 [N, D]."""

    views: tuple[View, ...]
    vectors: NDArray[Any]

    def rows(self, exams: Sequence[str]) -> NDArray[Any]:
        """Return the rows of some exams, int64 [n]."""
        wanted = set(exams)
        return np.array([row for row, view in enumerate(self.views) if view.exam_id in wanted], np.int64)


def _pictures(files: Sequence[str]) -> Iterator[View]:
    from components.common.shards import read_shard
    from components.common.views import parse_view

    for file in files:
        for record in read_shard(file):
            yield parse_view(record)


def _measure(files: Sequence[str], side: int) -> _Measured:
    import tensorflow as tf

    from components.texture.view_vector import view_vectors
    from components.transform.images import decode_images

    def measure(image_bytes: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        return view_vectors(decode_images(image_bytes, side), views)

    spec = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(measure, input_signature=spec, autograph=False)
    found: list[tuple[View, NDArray[Any]]] = []
    batch: list[View] = []

    def flush() -> None:
        numbers = tf.constant([VIEWS.index(view.view) for view in batch], tf.int32)
        vectors = graph(tf.constant([view.image for view in batch]), numbers).numpy()
        for view, vector in zip(batch, vectors, strict=True):
            found.append((replace(view, image=b"", regions=b""), vector))
        batch.clear()

    for view in _pictures(files):
        batch.append(view)
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    found.sort(key=lambda pair: (pair[0].exam_id, VIEWS.index(pair[0].view), pair[1].tobytes()))
    return _Measured(tuple(view for view, _ in found), np.stack([vector for _, vector in found]))


def run_models(data: FoldData, jobs: Sequence[ModelJob]) -> None:
    """Measure the archive once for each kind of model; then fit it to each fold, and grade the test views.

    Args:
        data: The archive.
        jobs: Jobs; those of the texture model have an equal ``side``.

    Raises:
        TextureFitError: A fold has views of fewer than two classes.
        ValueError: The grey statistics cannot be fitted to a fold.
    """
    if of_texture := [(job, job.config) for job in jobs if job.config]:
        _run_texture(data, of_texture)
    if of_grey := [job for job in jobs if not job.config]:
        _run_grey(data, of_grey)


def _run_texture(data: FoldData, jobs: Sequence[tuple[ModelJob, TextureConfig]]) -> None:
    import tensorflow as tf

    from components.texture.classifier import TextureClassifier
    from components.texture.fitting import fit_texture_model
    from components.texture.measuring import measured_views

    measured = _measure(data.files, jobs[0][1].side)
    for job, config in jobs:
        started = time.monotonic()
        learnt, judged = measured.rows(job.fold.train), measured.rows(job.fold.test)
        of_fold = [measured.views[row] for row in learnt]
        arrays = fit_texture_model(measured_views(of_fold, measured.vectors[learnt]), config)
        graded = TextureClassifier(arrays).probabilities(tf.constant(measured.vectors[judged])).numpy().tolist()
        _write(job, [(measured.views[row], grades) for row, grades in zip(judged, graded, strict=True)], started)


def _run_grey(data: FoldData, jobs: Sequence[ModelJob]) -> None:
    from components.grey_statistics.classifier import BaselineError, GreyClassifier
    from components.grey_statistics.measuring import measure_view

    found = [(replace(view, image=b"", regions=b""), measure_view(view)) for view in _pictures(data.files)]
    found.sort(key=lambda pair: (pair[0].exam_id, VIEWS.index(pair[0].view), pair[1].values.tobytes()))
    labels = {view.exam_id: DENSITY_CLASSES.index(view.density) for view, _ in found}
    shares = {view.exam_id: view.shares for view, _ in found if view.shares}
    for job in jobs:
        started = time.monotonic()
        learnt, judged = frozenset(job.fold.train), frozenset(job.fold.test)
        try:
            model = GreyClassifier([values for view, values in found if view.exam_id in learnt], labels, shares)
        except BaselineError as error:  # cannot be sent from one process to another
            raise ValueError(f"Fold {job.fold.number}: {error} Choose more exams, or leave {GREY} out.") from None
        exams, graded = model.predict([values for view, values in found if view.exam_id in judged])
        of_exam = dict(zip(exams, graded.tolist(), strict=True))
        _write(job, [(view, of_exam[view.exam_id]) for view, _ in found if view.exam_id in judged], started)


def _write(job: ModelJob, graded: Sequence[tuple[View, Sequence[float]]], started: float) -> None:
    """Write summary and table; the table is written last, completely or not at all."""
    from components.evaluator.predictions import ViewPrediction
    from pipeline.experiments.prediction_table import write_predictions

    rows = [
        ViewPrediction(
            *(view.exam_id, view.patient_id, view.view, view.density),
            probabilities=tuple(grades),
            slices={ACQUISITION_SYSTEM: view.acquisition_system},
        )
        for view, grades in graded
    ]
    exams = {"train": len(job.fold.train), "test": len(job.fold.test)}
    summary = {"networks": {}, "exams": exams, "seconds": round(time.monotonic() - started, 1)}
    write_whole(job.summary, json.dumps(summary, indent=1).encode())
    write_predictions(job.table, rows)


def run_models_apart(data: FoldData, jobs: Sequence[ModelJob], log: Path) -> None:
    """Run jobs in a new process, whose output goes to a log."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=silence, initargs=(str(log),)) as pool:
        pool.submit(run_models, data, tuple(jobs)).result()
