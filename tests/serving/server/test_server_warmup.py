"""Warm-up requests in assets.extra are replayed on load, and a model that refuses them is not served."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.exam_model.warmup import WARMUP_FILE
from serving.server.config import ServedModel
from serving.server.manager import ModelManager
from serving.server.model import LoadedModel, warm_up
from serving.wire.errors import ModelLoadError, ServerStartError

PNG = cv2.imencode(".png", np.full((16, 16), 30, np.uint8))[1].tobytes()


def predict_log(signature: str, **inputs: Any) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for alias, values in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return log.SerializeToString()


@pytest.fixture
def folder(saved_models: dict[int, Path], tmp_path: Path) -> Path:
    copy = shutil.copytree(saved_models[0], tmp_path / "models" / "1")
    (copy / WARMUP_FILE).parent.mkdir()
    return copy


def write(folder: Path, *logs: bytes) -> None:
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for log in logs:
            writer.write(log)


def test_requests_are_replayed(folder: Path) -> None:
    model = LoadedModel(folder, 1)
    assert warm_up(model, folder) == 0
    view = predict_log("predict_view", image_bytes=[PNG], view=["CC_R"])
    cam = predict_log("gradcam", image_bytes=[PNG], view=["CC_R"], target_class=[""])
    other = prediction_log_pb2.PredictionLog()
    other.classify_log.SetInParent()
    write(folder, view, other.SerializeToString(), cam)
    assert warm_up(model, folder) == 2


def test_refused_or_damaged_requests_keep_the_version_from_serving(folder: Path) -> None:
    model = LoadedModel(folder, 1)
    good = predict_log("predict_view", image_bytes=[PNG], view=["CC_R"])
    write(folder, good, predict_log("segment", image_bytes=[PNG]))
    with pytest.raises(ModelLoadError, match='warm-up request 2 is refused: Serving signature key "segment"'):
        warm_up(model, folder)
    with pytest.raises(ServerStartError, match="cannot be loaded"):
        ModelManager(ServedModel(base_path=folder.parent)).start()
    (folder / WARMUP_FILE).write_bytes(b"these bytes are no TFRecord file")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        warm_up(model, folder)
