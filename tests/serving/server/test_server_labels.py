"""Several versions at once: labels, promotion and rollback by request and by config file; health and metrics."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.config import METRICS_PATH, ServedModel, ServerConfig, VersionPolicy
from serving.server.run import RunningServer, run_server
from serving.server.text_protos import model_config_text
from tests.waiting import HANG, wait_until

Push = Callable[[int, int], Path]
PNG = cv2.imencode(".png", np.full((16, 16), 30, np.uint8))[1].tobytes()
BODY = {
    "signature_name": "predict_view",
    "instances": [{"image_bytes": {"b64": base64.b64encode(PNG).decode()}, "view": "CC_R"}],
}


def serve(model: ServedModel, **options: Any) -> RunningServer:
    return run_server(ServerConfig(model=model, grpc_port=0, rest_port=0, poll_seconds=0.05, **options))


class Client:
    def __init__(self, server: RunningServer) -> None:
        self.channel = grpc.insecure_channel(server.grpc_address, options=[("grpc.enable_http_proxy", 0)])
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict
        self._models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self._host = urlsplit(server.rest_address).netloc

    def version(self, label: str = "", name: str = "breast_density") -> int:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = "predict_view"
        if label:
            request.model_spec.version_label = label
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([PNG]))
        request.inputs["view"].CopyFrom(tf.make_tensor_proto(["CC_R"]))
        return int(self._predict(request, timeout=HANG).model_spec.version.value)

    def served(self) -> set[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "breast_density"
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        states = self._models.GetModelStatus(request, timeout=HANG).model_version_status
        return {status.version for status in states if status.state == available}

    def reload(self, model: ServedModel) -> None:
        request = model_management_pb2.ReloadConfigRequest()
        config = request.config.model_config_list.config.add(
            name=model.name, base_path=str(model.base_path), model_platform="tensorflow"
        )
        config.model_version_policy.latest.num_versions = model.policy.count
        for label, version in model.labels.items():
            config.version_labels[label] = version
        self._models.HandleReloadConfigRequest(request, timeout=HANG)

    def rest(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._host, timeout=HANG)
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        answer = response.status, response.read().decode()
        connection.close()
        return answer

    def density_by_rest(self, label: str) -> str:
        code, text = self.rest("POST", f"/v1/models/breast_density/labels/{label}:predict", BODY)
        assert code == 200, text
        return str(json.loads(text)["predictions"][0]["density"])


def two_versions(push: Push, **labels: int) -> ServedModel:
    push(1, 0)
    return ServedModel(base_path=push(2, 1), policy=VersionPolicy(count=2), labels=labels)


def test_stable_and_canary_are_served_together(push: Push) -> None:
    with serve(two_versions(push, stable=1, canary=2)) as server:
        client = Client(server)
        assert (client.version("stable"), client.version("canary"), client.version()) == (1, 2, 2)
        assert (client.density_by_rest("stable"), client.density_by_rest("canary")) == ("A", "B")
        code, text = client.rest("POST", "/v1/models/breast_density/labels/beta:predict", BODY)
        assert (code, json.loads(text)) == (400, {"error": "Unrecognized servable version label: beta"})
        metadata = json.loads(client.rest("GET", "/v1/models/breast_density/labels/stable/metadata")[1])
        assert metadata["model_spec"]["version"] == "1"


def test_promotion_and_rollback_by_request(push: Push) -> None:
    model = two_versions(push, stable=1, canary=2)
    with serve(model) as server:
        client = Client(server)
        client.reload(model.model_copy(update={"labels": {"stable": 2}}))
        assert client.version("stable") == 2
        with pytest.raises(grpc.RpcError) as caught:  # the labels of before are forgotten
            client.version("canary")
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        client.reload(model)
        assert (client.version("stable"), client.version("canary")) == (1, 2)


def test_a_label_does_not_move_to_a_version_that_is_not_served(push: Push) -> None:
    model = two_versions(push, stable=1)
    with serve(model) as server:
        client = Client(server)
        with pytest.raises(grpc.RpcError) as caught:
            client.reload(model.model_copy(update={"labels": {"stable": 7}}))
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == (
            "Request to assign label to version 7 of model breast_density, "
            "which is not currently available for inference"
        )
        assert client.version("stable") == 1


def test_a_new_label_may_name_a_version_that_comes_later(push: Push) -> None:
    with serve(ServedModel(base_path=push(1, 0), policy=VersionPolicy(count=2), labels={"canary": 2})) as server:
        client = Client(server)
        with pytest.raises(grpc.RpcError) as caught:
            client.version("canary")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "Servable not found for request: Specific(breast_density, 2)"
        push(2, 1)
        wait_until(lambda: client.served() == {1, 2})
        assert client.version("canary") == 2


def test_promotion_and_rollback_by_config_file(push: Push, tmp_path: Path, two_looks: Callable[[str], None]) -> None:
    model = two_versions(push, stable=1, canary=2)
    path = tmp_path / "models.config"
    path.write_text(model_config_text(model))
    with serve(model, model_config_file=path, model_config_poll_seconds=0.05) as server:
        client = Client(server)
        assert client.version("stable") == 1
        path.write_text(model_config_text(model.model_copy(update={"labels": {"stable": 2}})))
        wait_until(lambda: client.version("stable") == 2)
        path.write_text("model_config_list {")  # half written: what was followed stays
        two_looks("serving.server.manager.read_model_config")
        assert client.version("stable") == 2
        path.write_text(model_config_text(model))
        wait_until(lambda: client.version("stable") == 1)
        assert client.version("canary") == 2


def test_health_and_metrics(push: Push) -> None:
    with serve(two_versions(push), metrics_path=METRICS_PATH) as server:
        client = Client(server)
        health = health_pb2_grpc.HealthStub(client.channel)
        for service in ("", "tensorflow.serving.PredictionService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=HANG)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:  # its calls would last for ever
            next(health.Watch(health_pb2.HealthCheckRequest(), timeout=HANG))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        for _ in range(3):
            client.version()
        with pytest.raises(grpc.RpcError):
            client.version(name="DOE^JANE")
        assert client.rest("POST", "/v1/models/breast_density:predict", BODY)[0] == 200
        code, page = client.rest("GET", METRICS_PATH)
        assert code == 200
        ok = ':tensorflow:serving:request_count{model_name="breast_density",status="OK"} '
        assert ok + "4\n" in page
        assert ':tensorflow:serving:request_count{model_name="other",status="NOT_FOUND"} 1\n' in page
        entry = ':tensorflow:serving:request_latency_count{model_name="breast_density",API="Predict",entrypoint='
        assert entry + '"GRPC"} 3\n' in page
        assert entry + '"REST"} 1\n' in page
        assert ':tensorflow:serving:runtime_latency_count{model_name="breast_density"' in page
        buckets = [int(n) for n in re.findall(r'request_latency_bucket\{.*entrypoint="GRPC",le="[^"]+"\} (\d+)', page)]
        assert buckets == sorted(buckets)
        assert buckets[-1] == 3
        assert "DOE" not in page
        client.version()
        assert ok + "5\n" in client.rest("GET", METRICS_PATH)[1]


def test_metrics_are_off_unless_asked_for(push: Push) -> None:
    with serve(ServedModel(base_path=push(1, 0))) as server:
        assert Client(server).rest("GET", METRICS_PATH)[0] == 404
