"""Run one arm: the pipeline up to the exam model, and the model's predictions on the test split.

The predictions of single images are written as a table that ``breast-density evaluate`` reads.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf
from tfx.utils import path_utils

from components.common.shards import read_bytes, split_folder
from components.common.views import batched, read_views
from components.evaluator.predictions import Predictions, ViewPrediction, read_predictions
from components.exam_selector.selection import LEARNT
from components.statistics.calibration import load_temperature
from components.trainer import HISTORY_FILE
from pipeline.config import RunConfig
from pipeline.console import NodeResult
from pipeline.experiments.prediction_table import write_predictions
from pipeline.local import runner as local_runner
from pipeline.local.trainings import trainings_at_once
from schema import features as f
from schema.features import DENSITY_CLASSES

_BATCH: Final = 8  # images in memory; at the published size the activations of an image take some 100 MB


def predict_split(model: str, folder: str) -> list[ViewPrediction]:
    """Predict every image of a split with the model as it would be served.

    Args:
        model: SavedModel of the exam model.
        folder: Split folder of preprocessed examples.

    Returns:
        The predictions, sorted by exam and view.
    """
    predict = tf.saved_model.load(model).signatures["predict_view"]
    rows = []
    for batch in batched(read_views(folder), _BATCH):
        answer = predict(
            image_bytes=tf.constant([view.image for view in batch]), view=tf.constant([view.view for view in batch])
        )
        rows += [
            ViewPrediction(
                exam_id=view.exam_id,
                patient_id=view.patient_id,
                view=view.view,
                label=view.density,
                probabilities=tuple(row),
                slices={f.ACQUISITION_SYSTEM: view.acquisition_system},
            )
            for view, row in zip(batch, answer["probabilities"].numpy().tolist(), strict=True)
        ]
    return sorted(rows, key=lambda row: (row.exam_id, f.VIEWS.index(row.view)))


_LAST_NODE = "ExamEnsemble"  # the nodes after it evaluate and push; an experiment evaluates itself and pushes nothing
ExamCounts = dict[str, dict[str, int]]  # split -> density class -> exams


@dataclass(frozen=True)
class Network:
    """One trained network.

    Attributes:
        best_epoch: Epoch whose weights were kept.
        epochs: Number of epochs that were run.
        validation_accuracy: Accuracy on the images of the eval split at that epoch.
        images: Number of images by split.
    """

    best_epoch: int
    epochs: int
    validation_accuracy: float
    images: dict[str, int]


@dataclass(frozen=True)
class FinishedArm:
    """An arm that finished without an error.

    Attributes:
        config: Configuration that was run.
        predictions: Predictions on the images of the test split.
        file: File of the predictions, as ``breast-density evaluate`` reads it.
        temperature: Temperature of the exam model's calibration.
        networks: Networks by name.
        exams: Number of exams in training, evaluation and test.
        learnt_systems: Acquisition systems in the training data.
        nodes: Results of the nodes.
        seconds: Duration, s.
    """

    config: RunConfig
    predictions: Predictions
    file: Path
    temperature: float
    networks: dict[str, Network]
    exams: ExamCounts
    learnt_systems: tuple[str, ...]
    nodes: tuple[NodeResult, ...]
    seconds: float


def _network(model: str) -> Network:
    history: dict[str, Any] = json.loads(read_bytes(os.path.join(path_utils.serving_model_path(model), HISTORY_FILE)))
    [best] = [epoch for epoch in history["epochs"] if epoch["epoch"] == history["best_epoch"]]
    return Network(history["best_epoch"], len(history["epochs"]), best["val_accuracy"], history["images"])


def _count(examples: str, splits: tuple[str, ...]) -> tuple[ExamCounts, tuple[str, ...]]:
    exams: dict[str, dict[str, set[str]]] = {split: defaultdict(set) for split in splits}
    systems = set()
    for split in splits:
        for view in read_views(split_folder(examples, split)):
            exams[split][view.density].add(view.exam_id)
            systems.add(view.acquisition_system)
    counts = {split: {name: len(found[name]) for name in DENSITY_CLASSES} for split, found in exams.items()}
    return counts, tuple(sorted(systems))


def run_arm(config: RunConfig, folder: Path, observer: local_runner.RunObserver) -> FinishedArm:
    """Run an arm. The outputs of an earlier arm or call are taken from TFX's cache.

    Args:
        config: Configuration to run, with data.
        folder: Folder for predictions, one file per model.
        observer: Notified when a node begins and ends.

    Returns:
        The finished arm.

    Raises:
        NodeError: A node failed. The outputs of finished nodes are kept.
    """
    started = time.monotonic()
    keras.utils.clear_session(free_memory=True)  # trainings of earlier arms leave their graphs in memory
    trainings = trainings_at_once(config.runner.trainings, os.environ)
    nodes = local_runner.run(local_runner.build(config, _LAST_NODE), config.output, observer, trainings)
    outputs = {result.node: result.outputs for result in nodes}
    model = outputs[_LAST_NODE]["model"]
    served = path_utils.serving_model_path(model)
    examples = outputs["MammogramPreprocessor"]["preprocessed_examples"]
    learnt = outputs["ExamSelector"]["selected_examples"] if "ExamSelector" in outputs else examples
    # TFX numbers the folder of each execution, so the file belongs to this model and its examples.
    file = folder / f"model_{os.path.basename(model)}.csv"
    if not file.is_file():
        write_predictions(file, predict_split(served, split_folder(examples, "test")))
    exams, systems = _count(learnt, LEARNT)
    return FinishedArm(
        config=config,
        predictions=read_predictions(file),
        file=file,
        temperature=load_temperature(served),
        networks={
            name: _network(outputs[f"Trainer.{name}"]["model"]) for name in config.pipeline.trainer.views_by_network
        },
        exams=exams | _count(examples, ("test",))[0],
        learnt_systems=systems,
        nodes=tuple(nodes),
        seconds=time.monotonic() - started,
    )
