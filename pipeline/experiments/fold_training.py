"""Train the networks of one arm on one fold with one seed, and predict the fold's test exams.

A fold runs in its own process, so that memory does not grow with their number. It uses the Trainer's loop and reads the
shards of the whole archive; only the exams of its parts pass. Predictions are those of the networks before calibration,
as a table that ``breast-density evaluate`` reads. The served model gives the same: a test compares the two.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from components.common.files import write_whole
from components.common.fingerprint import code_fingerprint
from components.trainer.config import TrainConfig
from pipeline.experiments.folds import Fold

# What decides the predictions of a trained fold. Other code may change, and finished folds are kept.
_DECIDES: Final = ("components.trainer.loop", "components.transform.class_outputs")


@dataclass(frozen=True)
class FoldData:
    """The preprocessed archive that all folds of an arm share.

    Attributes:
        files: Sorted shards of all its splits.
        transform_output: Folder of the Transform node.
        fingerprint: Hash of images, exams and labels, in their order.
        pictures: The same hash of the sorted images: equal pictures in other splits have the same.
    """

    files: tuple[str, ...]
    transform_output: str
    fingerprint: str
    pictures: str


@dataclass(frozen=True)
class FoldJob:
    """One training.

    Attributes:
        data: The archive.
        config: Configuration with the seed of this job.
        fold: The exams.
        table: CSV to write; the summary of the training is beside it, with the ending ``.json``.
    """

    data: FoldData
    config: TrainConfig
    fold: Fold
    table: Path

    @property
    def summary(self) -> Path:
        """JSON file with the summary of the training."""
        return self.table.with_suffix(".json")


def job_key(data: FoldData, config: TrainConfig, fold: Fold) -> str:
    """Return a hash of all that decides the predictions of a job: data, configuration, exams and code."""
    decides = {
        "data": data.fingerprint,
        "config": config.model_dump(mode="json"),
        "fold": dataclasses.asdict(fold),
        "code": [code_fingerprint(name) for name in _DECIDES],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def silence(log: str) -> None:
    """Send everything that this process prints to the log of the experiment."""
    with open(log, "ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)


def run_fold(job: FoldJob) -> None:
    """Train and predict; the table is written last, completely or not at all.

    Raises:
        ValueError: A part of the fold has no image of the views of a network.
        FloatingPointError: The loss is no longer finite.
    """
    import tensorflow_transform as tft  # not above: the parent process only needs the key of a job

    from components.evaluator.predictions import ViewPrediction
    from pipeline.experiments.prediction_table import write_predictions

    started = time.monotonic()
    transform = tft.TFTransformOutput(job.data.transform_output)
    rows: list[ViewPrediction] = []
    networks: dict[str, Any] = {}
    for name, views in job.config.views_by_network.items():
        found, networks[name] = _train_network(job, transform, name, views)
        rows += found
    rows.sort(key=lambda row: (row.exam_id, row.view))
    summary = {"networks": networks, "seconds": round(time.monotonic() - started, 1)}
    write_whole(job.summary, json.dumps(summary, indent=1).encode())
    write_predictions(job.table, rows)


def _train_network(job: FoldJob, transform: Any, name: str, views: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Train one network; return the predictions of its test images and a summary of the training."""
    from components.trainer.input_pipeline import ViewData, batches, read_records
    from components.trainer.loop import class_weights, train

    data = {
        part: ViewData(job.data.files, views, transform, job.config.mirrors_right, exams)
        for part, exams in (("train", job.fold.train), ("eval", job.fold.eval), ("test", job.fold.test))
    }
    records = {part: read_records(data[part]) for part in data}
    for part, found in records.items():
        if not found.labels:
            raise ValueError(f"Fold {job.fold.number} has no {part} image for network {name}: choose fewer folds.")
    trained = train(
        batches(data["train"], job.config, training=True, records=records["train"]),
        batches(data["eval"], job.config, training=False, records=records["eval"]),
        class_weights(records["train"].labels, job.config),
        job.config,
    )
    best = trained.epochs[trained.best_epoch - 1]
    summary = {
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.epochs),
        "validation_accuracy": round(best.val_accuracy, 6),
        "images": {part: len(found.labels) for part, found in records.items()},
    }
    return list(_predictions(trained.network, data["test"], records["test"].labels, job.config)), summary


def _predictions(network: Any, data: Any, labels: tuple[int, ...], config: TrainConfig) -> Iterator[Any]:
    """Yield a prediction per test image, in the order of the shards."""
    import numpy as np
    import tensorflow as tf

    from components.common.shards import read_shard
    from components.common.views import parse_view
    from components.evaluator.predictions import ViewPrediction
    from components.trainer.input_pipeline import batches
    from components.transform.class_outputs import class_probabilities
    from schema import features as f

    wanted, exams = set(data.views), set(data.exams)
    views = (parse_view(record) for file in data.files for record in read_shard(file))
    ours = (view for view in views if view.view in wanted and view.exam_id in exams)
    given = batches(data, config, training=False)
    found = []
    for images, _ in islice(given.stream(0, tf.distribute.InputContext()), given.steps):
        found.append(class_probabilities(tf.constant(network.predict_on_batch(images))).numpy())
    probabilities = np.concatenate(found)[: given.count]
    for view, label, row in zip(ours, labels, probabilities.tolist(), strict=True):
        if f.DENSITY_CLASSES[label] != view.density:
            raise ValueError("The images and the labels of a fold are in different orders.")
        yield ViewPrediction(
            view.exam_id,
            view.patient_id,
            view.view,
            view.density,
            tuple(row),
            {f.ACQUISITION_SYSTEM: view.acquisition_system},
        )


def run_apart(job: FoldJob, log: Path) -> None:
    """Run a job in a new process, whose output goes to a log."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=silence, initargs=(str(log),)) as pool:
        pool.submit(run_fold, job).result()
