"""Write a version of a model for TensorFlow Serving, whole or not at all, with the evaluation in its contract."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from pydantic import ValidationError

from components.common.shards import write_bytes
from components.exam_model.contract import Contract, ContractError, Evaluation, SliceMetrics, sha256_of
from components.statistics.intervals import Figure
from components.statistics.metrics import IN_CONTRACT


def copy_model(model_dir: str, folder: str, replaced: Mapping[str, bytes]) -> None:
    """Copy a SavedModel.

    Args:
        model_dir: SavedModel.
        folder: Folder to write to; created if absent.
        replaced: Files with other bytes than in the model, by name in it.
    """
    for source, _, files in tf.io.gfile.walk(model_dir):
        copied = os.path.normpath(os.path.join(folder, os.path.relpath(source, model_dir)))
        tf.io.gfile.makedirs(copied)
        for name in files:
            tf.io.gfile.copy(os.path.join(source, name), os.path.join(copied, name), overwrite=True)
    for name, data in replaced.items():
        write_bytes(os.path.join(folder, name), data)


def push_version(model_dir: str, serving_dir: str, version: int, replaced: Mapping[str, bytes] | None = None) -> str:
    """Copy a SavedModel to ``serving_dir/VERSION``.

    The copy gets a hidden name first and is then renamed: TensorFlow Serving loads a numbered folder as soon as it
    appears.

    Args:
        model_dir: SavedModel.
        serving_dir: Folder of versions; created if absent.
        version: Wanted version; raised above the newest existing version.
        replaced: Files with other bytes than in the model, by name in it.

    Returns:
        The written folder.
    """
    tf.io.gfile.makedirs(serving_dir)
    entries = (entry.rstrip("/") for entry in tf.io.gfile.listdir(serving_dir))
    newest = max((int(entry) for entry in entries if entry.isdecimal()), default=0)
    target = os.path.join(serving_dir, str(max(version, newest + 1)))
    partial = os.path.join(serving_dir, f".{uuid.uuid4().hex}.partial")
    try:
        copy_model(model_dir, partial, replaced or {})
        tf.io.gfile.rename(partial, target)
    finally:
        if tf.io.gfile.isdir(partial):
            tf.io.gfile.rmtree(partial)
    return target


def with_evaluation(contract: Contract, exam_metrics: bytes) -> Contract:
    """Add the metrics of all exams, and of every slice by one feature, to a contract.

    Args:
        contract: Contract of the evaluated model.
        exam_metrics: The Evaluator's ``exam_metrics.json``.

    Returns:
        The contract with its ``evaluation``.

    Raises:
        ContractError: The file is not an evaluation, or its model has another temperature.
    """
    try:
        content = json.loads(exam_metrics)
        if not math.isclose(content["temperature"], contract.calibration.temperature):
            raise ContractError(
                "The evaluation is of another model: evaluate the one that is pushed. Received: temperature"
                f" {content['temperature']} in exam_metrics.json, {contract.calibration.temperature} in the contract"
            )
        evaluation = Evaluation(
            model_sha256=contract.model_sha256,
            metrics_sha256=sha256_of(exam_metrics),
            slices=tuple(_slice(entry) for entry in content["exam"] if len(entry["slice"]) <= 1),
        )
    except (ValidationError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ContractError(
            f"exam_metrics.json is not what the Evaluator writes ({type(error).__name__}): run the Evaluator again."
        ) from error
    return contract.model_copy(update={"evaluation": evaluation})


def _slice(entry: dict[str, Any]) -> SliceMetrics:
    found = entry["metrics"]
    metrics = {name: Figure.model_validate(found[name]) for name in IN_CONTRACT if name in found}
    return SliceMetrics(
        slice=entry["slice"], exams=entry["n"], ungraded=entry["ungraded"], small=entry["small"], metrics=metrics
    )
