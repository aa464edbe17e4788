"""A model server with small limits, and clients of it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server.config import Limits, ServedModel, ServerConfig
from serving.server.run import RunningServer, run_server
from tests.waiting import HANG

PREDICT = "/v1/models/breast_density:predict"
METRICS = "/metrics"
LIMITS = Limits(message_bytes=200_000, read_seconds=1.0, idle_seconds=1.5, running=1, queued=2, connections=20)


def png(grey: int, size: int = 16) -> bytes:
    return cv2.imencode(".png", np.full((size, size), grey, np.uint8))[1].tobytes()


@contextmanager
def limited(model_dir: Path, limits: Limits) -> Iterator[RunningServer]:
    model = ServedModel(base_path=model_dir)
    config = ServerConfig(model=model, grpc_port=0, rest_port=0, limits=limits, metrics_path=METRICS)
    with run_server(config) as running:
        yield running


@contextmanager
def channel_to(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address, options=[("grpc.enable_http_proxy", 0)]) as opened:
        yield opened


def grader(channel: grpc.Channel) -> Callable[..., str]:
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

    def _ask(images: list[bytes], seconds: float = HANG) -> str:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "breast_density"
        request.model_spec.signature_name = "predict_view"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
        request.inputs["view"].CopyFrom(tf.make_tensor_proto(["CC_R"] * len(images)))
        try:
            return predict(request, timeout=seconds).outputs["density"].string_val[0].decode()
        except grpc.RpcError as error:
            return str(error.code().name)

    return _ask


def netloc(server: RunningServer) -> tuple[str, int]:
    host, _, port = urlsplit(server.rest_address).netloc.rpartition(":")
    return host, int(port)


def body_of(images: list[bytes]) -> bytes:
    instances = [{"image_bytes": {"b64": base64.b64encode(image).decode()}, "view": "CC_R"} for image in images]
    return json.dumps({"signature_name": "predict_view", "instances": instances}).encode()


def rest(server: RunningServer, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*netloc(server), timeout=HANG)
    try:
        connection.request("POST", PREDICT, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def closed_after(connection: socket.socket) -> float:
    """Return the time until the server closes the connection, s."""
    started = time.monotonic()
    connection.settimeout(HANG)
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - started


def peak_memory() -> int:
    """Return the largest memory of this process so far, bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
