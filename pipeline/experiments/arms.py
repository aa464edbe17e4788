"""Runs one arm: the pipeline up to the exam model, and the model's grades of the test split."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from tfx.utils import path_utils

from components.common.shards import read_bytes, split_folder
from components.common.views import read_views
from components.evaluator.predictions import Predictions, read_predictions
from components.exam_selector.selection import LEARNT
from components.statistics.calibration import load_temperature
from components.trainer import HISTORY_FILE
from pipeline.config import RunConfig
from pipeline.experiments.predict import predict_split, write_predictions
from pipeline.local import runner as local_runner
from schema.features import DENSITY_CLASSES

_LAST_NODE = "ExamEnsemble"  # what follows judges and pushes; an experiment judges by itself and pushes nothing
ExamCounts = dict[str, dict[str, int]]  # split -> density class -> exams


@dataclass(frozen=True)
class Network:
    """One trained network.

    Attributes:
        best_epoch: The epoch that was kept.
        epochs: Epochs that were run.
        validation_accuracy: Of the images of the eval split, at that epoch.
        images: Images by split.
    """

    best_epoch: int
    epochs: int
    validation_accuracy: float
    images: dict[str, int]


@dataclass(frozen=True)
class FinishedArm:
    """An arm that ended well.

    Attributes:
        config: What was run.
        predictions: Grades of the images of the test split.
        file: Where they are kept, as ``breast-density evaluate`` reads them.
        temperature: What the exam model calibrates by.
        networks: By name.
        exams: Exams that were learnt from, and the test split's.
        learnt_systems: Acquisition systems that were learnt from.
        nodes: What became of each node.
        seconds: Time taken.
    """

    config: RunConfig
    predictions: Predictions
    file: Path
    temperature: float
    networks: dict[str, Network]
    exams: ExamCounts
    learnt_systems: tuple[str, ...]
    nodes: tuple[local_runner.NodeResult, ...]
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
    """Runs an arm; what an earlier arm or an earlier call has made is taken from TFX's cache.

    Args:
        config: What to run, with data.
        folder: Folder for predictions, one file a model.
        observer: Is told when a node begins and ends.

    Returns:
        The arm.

    Raises:
        NodeError: A node failed. What ran before is kept.
    """
    started = time.monotonic()
    keras.utils.clear_session(free_memory=True)  # trainings of earlier arms leave their graphs behind
    nodes = local_runner.run(local_runner.build(config, _LAST_NODE), config.output, observer)
    outputs = {result.node: result.outputs for result in nodes}
    model = outputs[_LAST_NODE]["model"]
    served = path_utils.serving_model_path(model)
    examples = outputs["MammogramPreprocessor"]["preprocessed_examples"]
    learnt = outputs["ExamSelector"]["selected_examples"] if "ExamSelector" in outputs else examples
    # TFX numbers each execution's folder, so that the file belongs to this model and the examples it was made with.
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
