"""Warm-up: replays the requests a SavedModel carries, so that the first real one does not pay for set-up."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.exam_model.warmup import WARMUP_FILE
from serving.server.model import LoadedModel
from serving.wire.errors import ModelLoadError, StatusError
from serving.wire.tensors import to_array

MAX_REQUESTS: Final = 1000


def warm_up(model: LoadedModel, folder: Path) -> int:
    """Replays the warm-up requests of a SavedModel, where it has any.

    Args:
        model: The loaded model.
        folder: Its folder; the requests are a TFRecord file of PredictionLog in ``assets.extra``.

    Returns:
        Requests answered; those that are no Predict requests do not count.

    Raises:
        ModelLoadError: The file cannot be read, or the model refuses one: as in TensorFlow Serving such a
            version is not served.
    """
    path = folder / WARMUP_FILE
    if not path.is_file():
        return 0
    answered = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).take(MAX_REQUESTS).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if not log.HasField("predict_log"):
                continue
            request = log.predict_log.request
            inputs = {name: to_array(name, proto) for name, proto in request.inputs.items()}
            model.predict(request.model_spec.signature_name, inputs, list(request.output_filter))
            answered += 1
    except StatusError as error:
        raise ModelLoadError(f"warm-up request {answered + 1} is refused: {error.message}") from error
    except Exception as error:  # TensorFlow and protobuf raise their own types for a damaged file
        raise ModelLoadError(f"warm-up requests cannot be read: {type(error).__name__}") from error
    return answered
