"""Run the probe in a fresh process, and collect its checks."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from components.common.views import View
from schema import features as f
from serving.client.grades import ServingError
from serving.client.grpc_client import ExamClient
from serving.infra_check import probe
from serving.server.config import ServedModel, ServerConfig
from serving.server.tf_serving import find_tf_serving, start_tf_serving
from serving.wire.errors import ServerStartError

_TIME_OUT_S: Final = 600
_SERVED_AS: Final = "infra_check"


def build_requests(views: list[View]) -> dict[str, dict[str, list[str]]]:
    """Return one request per signature, made from preprocessed views.

    Args:
        views: At least one view.

    Returns:
        Inputs by signature; every value is base64.
    """

    def encoded(values: list[bytes]) -> list[str]:
        return [base64.b64encode(value).decode() for value in values]

    def example(view: View) -> bytes:
        values = {f.IMAGE: view.image, f.VIEW: view.view.encode()}
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()
        }
        result: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
        return result

    images = encoded([view.image for view in views])
    names = encoded([view.view.encode() for view in views])
    exams = encoded([view.exam_id.encode() for view in views])
    predicted = encoded([b""] * len(views))
    return {
        "serving_default": {"examples": encoded([example(view) for view in views])},
        "predict_view": {"image_bytes": images, "view": names},
        "predict_exam": {"image_bytes": images, "view": names, "exam_id": exams},
        "gradcam": {"image_bytes": images, "view": names, "target_class": predicted},
        "explain_exam": {"image_bytes": images, "view": names, "exam_id": exams, "target_class": predicted},
    }


def check_in_tf_serving(binary: Path, model_dir: str, views: list[View]) -> dict[str, Any]:
    """Check that TensorFlow Serving loads a SavedModel and grades an exam by gRPC.

    Args:
        binary: ``tensorflow_model_server``.
        model_dir: SavedModel.
        views: Views that are sent as one exam.

    Returns:
        One check: name, passed, seconds and detail.
    """
    started = time.perf_counter()
    model = ServedModel(base_path=Path(model_dir), name=_SERVED_AS)
    try:
        with (
            start_tf_serving(ServerConfig(model=model, grpc_port=0, rest_port=0), binary) as server,
            ExamClient(server.grpc_address, _SERVED_AS) as client,
        ):
            grade = client.predict_exam({view.view: view.image for view in views})
        detail, passed = f"graded {len(grade.views)} views", True
    except (ServingError, ServerStartError) as error:
        detail, passed = str(error)[:300], False
    seconds = round(time.perf_counter() - started, 3)
    return {"name": "answer of tensorflow_model_server", "passed": passed, "seconds": seconds, "detail": detail}


def check_model(model_dir: str, views: list[View]) -> dict[str, Any]:
    """Check that a SavedModel serves: in a fresh interpreter with only TensorFlow, and in TensorFlow Serving.

    Args:
        model_dir: SavedModel.
        views: Views that are sent. TensorFlow Serving is checked if this machine has it.

    Returns:
        ``passed``, and ``checks`` with name, passed, seconds and detail of each.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, result = Path(folder, "requests.json"), Path(folder, "result.json")
        request.write_text(json.dumps(build_requests(views)), encoding="utf-8")
        command = [sys.executable, "-I", str(probe.__file__), model_dir, str(request), str(result)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_OUT_S, check=False)
            failure = process.stderr.strip().splitlines()[-1:] if process.returncode else []
        except subprocess.TimeoutExpired:
            failure = [f"no answer within {_TIME_OUT_S} s"]
        checks = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else []
    if failure or not checks:
        detail = " ".join(failure)[:300]
        checks.append({"name": "the probe process ends well", "passed": False, "seconds": 0.0, "detail": detail})
    if binary := find_tf_serving():
        checks.append(check_in_tf_serving(binary, model_dir, views))
    return {"passed": all(check["passed"] for check in checks), "checks": checks}
