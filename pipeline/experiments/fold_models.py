"""Models that are not networks, on the same folds: quick to fit, so all folds and seeds of one run in one process.

``texture`` is the texture model of the mixed classifier. It grades single views, as networks do.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
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
_DECIDES: Final = ("components.texture.fitting", "components.texture.measuring", "components.texture.classifier")
_BATCH: Final = 16  # pictures in memory


@dataclass(frozen=True)
class ModelJob:
    """One fit.

    Attributes:
        fold: The exams; those that choose a network's epoch are not used.
        config: Settings, with the seed of this job.
        table: CSV to write, with a summary beside it.
    """

    fold: Fold
    config: TextureConfig
    table: Path

    @property
    def summary(self) -> Path:
        """JSON file with the summary of the fit."""
        return self.table.with_suffix(".json")


def model_key(data: FoldData, fold: Fold, config: TextureConfig) -> str:
    """Return a hash of all that decides the predictions of a job: data, settings, exams and code."""
    decides = {
        "data": data.fingerprint,
        "config": config.model_dump(mode="json"),
        "fold": asdict(fold),
        "code": [code_fingerprint(name) for name in _DECIDES],
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

    from components.common.views import View
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
            kept = View(b"", view.view, view.exam_id, view.density, view.acquisition_system, view.patient_id)
            found.append((kept, vector))
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
    """Measure the archive once; then fit the texture model to each fold, and grade its test views.

    Args:
        data: The archive.
        jobs: Jobs of equal ``side``.

    Raises:
        TextureFitError: A fold has views of fewer than two classes.
    """
    import tensorflow as tf

    from components.evaluator.predictions import ViewPrediction
    from components.texture.classifier import TextureClassifier
    from components.texture.fitting import fit_texture_model
    from components.texture.measuring import MeasuredViews
    from pipeline.experiments.prediction_table import write_predictions

    measured = _measure(data.files, jobs[0].config.side)
    for job in jobs:
        started = time.monotonic()
        learnt, judged = measured.rows(job.fold.train), measured.rows(job.fold.test)
        of_fold = [measured.views[row] for row in learnt]
        _, exams = np.unique([view.exam_id for view in of_fold], return_inverse=True)
        arrays = fit_texture_model(
            MeasuredViews(
                vectors=measured.vectors[learnt],
                labels=np.array([DENSITY_CLASSES.index(view.density) for view in of_fold], np.int64),
                views=np.array([VIEWS.index(view.view) for view in of_fold], np.int64),
                exams=exams.astype(np.int64),
            ),
            job.config,
        )
        graded = TextureClassifier(arrays).probabilities(tf.constant(measured.vectors[judged])).numpy().tolist()
        rows = []
        for row, probabilities in zip(judged, graded, strict=True):
            view = measured.views[row]
            slices = {ACQUISITION_SYSTEM: view.acquisition_system}
            rows.append(
                ViewPrediction(view.exam_id, view.patient_id, view.view, view.density, tuple(probabilities), slices)
            )
        images = {"train": len(learnt), "test": len(judged)}
        summary = {"networks": {}, "images": images, "seconds": round(time.monotonic() - started, 1)}
        write_whole(job.summary, json.dumps(summary, indent=1).encode())
        write_predictions(job.table, rows)


def run_models_apart(data: FoldData, jobs: Sequence[ModelJob], log: Path) -> None:
    """Run jobs in a new process, whose output goes to a log."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=silence, initargs=(str(log),)) as pool:
        pool.submit(run_models, data, tuple(jobs)).result()
