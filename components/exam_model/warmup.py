"""Warm-up requests of a SavedModel, so that the first real request is not slowed by set-up.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

import os
import uuid
from typing import Final

import cv2
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.common.png import encode_png
from components.common.shards import remove_file
from schema import features as f

WARMUP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
_GREY: Final = 120


def warmup_image(size: int) -> bytes:
    """Draw half an ellipse in the place of a breast: real size and type, small file.

    Args:
        size: Height and width, pixels.

    Returns:
        PNG, 8-bit grey.
    """
    image = np.zeros((size, size), np.uint8)
    cv2.ellipse(image, (0, size // 2), (size * 2 // 3, size * 9 // 20), 0, -90, 90, (_GREY,), cv2.FILLED)
    return encode_png(image)


def warmup_inputs(size: int) -> dict[str, dict[str, list[bytes]]]:
    """Return one request per signature: one exam with four views.

    Args:
        size: Height and width of the networks' input, pixels.

    Returns:
        Values by signature and input.
    """
    png = warmup_image(size)
    views = [view.encode() for view in f.VIEWS]

    def example(view: bytes) -> bytes:
        values = {f.IMAGE: png, f.VIEW: view}
        features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
        message = tf.train.Example(features=tf.train.Features(feature=features))
        return bytes(message.SerializeToString(deterministic=True))

    images = {"image_bytes": [png] * len(views), "view": views}
    exam = {**images, "exam_id": [b"warm-up"] * len(views)}
    target = {"target_class": [b""]}
    return {
        "serving_default": {"examples": [example(view) for view in views]},
        "predict_view": images,
        "predict_exam": exam,
        "gradcam": images | target,
        "explain_exam": exam | target,
    }


def warmup_records(model: str, size: int) -> list[bytes]:
    """Return the warm-up requests in TensorFlow Serving's format; the bytes are always the same.

    Args:
        model: Name of the model.
        size: Height and width of the networks' input, pixels.

    Returns:
        Serialized PredictionLog, one per signature.
    """
    records = []
    for signature, inputs in warmup_inputs(size).items():
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string, [len(values)]))
        records.append(log.SerializeToString(deterministic=True))
    return records


def write_warmup(model_dir: str, model: str, size: int) -> None:
    """Write the warm-up requests into a SavedModel, completely or not at all.

    Args:
        model_dir: Folder of ``saved_model.pb``.
        model: Name of the model.
        size: Height and width of the networks' input, pixels.
    """
    path = os.path.join(model_dir, WARMUP_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.partial")
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            for record in warmup_records(model, size):
                writer.write(record)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        remove_file(temporary)
