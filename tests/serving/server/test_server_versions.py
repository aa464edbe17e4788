"""Versions: newest first, swap under load, half-written and broken folders, rollback, start and stop."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from components.exam_model.versions import find_versions
from serving.server.run import RunningServer, start_server
from serving.wire.errors import ServerStartError
from tests.waiting import HANG, wait_until

STATE = get_model_status_pb2.ModelVersionStatus
Push = Callable[[int, int], Path]
LOOK = "serving.server.manager.find_versions"
PNG = cv2.imencode(".png", np.full((16, 16), 30, np.uint8))[1].tobytes()
# What the two stand-ins (bias 0 and 1) say of PNG: it identifies which of them answered.
CLASS_OF_BIAS = {0: b"A", 1: b"B"}


def serve(model_dir: Path) -> RunningServer:
    return start_server(model_dir, grpc_port=0, rest_port=0, poll_seconds=0.05)


class Client:
    def __init__(self, server: RunningServer) -> None:
        self.channel = grpc.insecure_channel(server.grpc_address, options=[("grpc.enable_http_proxy", 0)])
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def ask(self) -> tuple[int, bytes]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "breast_density"
        request.model_spec.signature_name = "predict_view"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([PNG]))
        request.inputs["view"].CopyFrom(tf.make_tensor_proto(["CC_R"]))
        response = self._predict(request, timeout=HANG)
        return response.model_spec.version.value, response.outputs["density"].string_val[0]

    def states(self) -> dict[int, Any]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "breast_density"
        return {s.version: s for s in self.models.GetModelStatus(request).model_version_status}

    def wait_for_version(self, version: int) -> None:
        wait_until(lambda: self.ask()[0] == version)


def test_find_versions(push: Push, tmp_path: Path) -> None:
    model_dir = push(2, 0)
    push(10, 0)
    for name in ("latest", "-1", "1.5", "99999999999999999999"):
        shutil.copytree(model_dir / "2", model_dir / name)
    (model_dir / "11").mkdir()
    assert find_versions(model_dir) == {2: model_dir / "2", 10: model_dir / "10"}
    assert find_versions(model_dir / "10") == {10: model_dir / "10"}
    assert find_versions(model_dir / "latest") == {1: model_dir / "latest"}
    assert find_versions(tmp_path / "absent") == {}


def test_newest_version_by_number_is_served(push: Push) -> None:
    push(9, 1)
    with serve(push(10, 0)) as server:
        assert Client(server).ask() == (10, b"A")


def test_a_saved_model_itself_can_be_served(saved_models: dict[int, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved_models[1], tmp_path / "exported")
    with serve(folder) as server:
        assert Client(server).ask() == (1, b"B")


def test_swap_under_load_drops_and_mixes_nothing(push: Push) -> None:
    model_dir = push(1, 0)
    with serve(model_dir) as server:
        answers: list[tuple[int, bytes]] = []
        failures: list[Exception] = []
        done = threading.Event()

        def flood() -> None:
            client = Client(server)
            while not done.is_set():
                try:
                    answers.append(client.ask())
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()

        def answered(count: int) -> bool:
            return len(answers) >= count

        for version in (2, 3, 4):
            before = len(answers)
            push(version, version % 2)
            Client(server).wait_for_version(version)
            wait_until(partial(answered, before + 9))
        done.set()
        for thread in threads:
            thread.join()
        assert failures == []
        biases = {1: 0, 2: 0, 3: 1, 4: 0}
        assert {version for version, _ in answers} == {1, 2, 3, 4}
        assert all(density == CLASS_OF_BIAS[biases[version]] for version, density in answers)
        states = Client(server).states()
        assert [states[v].state for v in (1, 2, 3, 4)] == [STATE.END, STATE.END, STATE.END, STATE.AVAILABLE]


def test_half_written_version_waits_until_it_is_whole(
    push: Push, saved_models: dict[int, Path], two_looks: Callable[[str], None]
) -> None:
    model_dir = push(1, 0)
    with serve(model_dir) as server:
        client = Client(server)
        new = model_dir / "2"
        shutil.copytree(saved_models[1] / "variables", new / "variables")
        two_looks(LOOK)
        assert client.states().keys() == {1}
        shutil.copy(saved_models[1] / "saved_model.pb", new)
        client.wait_for_version(2)
        assert client.ask() == (2, b"B")


def test_broken_version_keeps_the_old_one_until_it_is_mended(
    push: Push,
    saved_models: dict[int, Path],
    caplog: pytest.LogCaptureFixture,
    two_looks: Callable[[str], None],
) -> None:
    model_dir = push(1, 0)
    with serve(model_dir) as server:
        client = Client(server)
        new = model_dir / "2"
        new.mkdir()
        shutil.copy(saved_models[1] / "saved_model.pb", new)  # the graph without its variables
        wait_until(lambda: 2 in client.states() and client.states()[2].state == STATE.END)
        status = client.states()[2].status
        assert status.error_code != 0
        assert str(model_dir) not in status.error_message
        assert str(model_dir) not in caplog.text
        assert client.ask() == (1, b"A")
        assert client.states()[1].state == STATE.AVAILABLE
        attempts = caplog.text.count("cannot be loaded")
        two_looks(LOOK)
        assert caplog.text.count("cannot be loaded") == attempts == 1  # not tried again until it changes
        shutil.copytree(saved_models[1] / "variables", new / "variables")
        client.wait_for_version(2)
        assert client.ask() == (2, b"B")


def test_removing_the_newest_version_rolls_back(push: Push, two_looks: Callable[[str], None]) -> None:
    push(1, 0)
    model_dir = push(2, 1)
    with serve(model_dir) as server:
        client = Client(server)
        assert client.ask() == (2, b"B")
        shutil.rmtree(model_dir / "2")
        client.wait_for_version(1)
        shutil.rmtree(model_dir / "1")
        two_looks(LOOK)
        assert client.ask() == (1, b"A")  # with nothing on disk the loaded one stays


def test_reload_config_pins_a_version_and_lets_go(push: Push) -> None:
    push(1, 0)
    model_dir = push(2, 1)
    with serve(model_dir) as server:
        client = Client(server)
        request = model_management_pb2.ReloadConfigRequest()
        config = request.config.model_config_list.config.add(
            name="breast_density", base_path=str(model_dir), model_platform="tensorflow"
        )
        config.model_version_policy.specific.versions.append(1)
        assert client.models.HandleReloadConfigRequest(request).status.error_code == 0
        assert client.ask() == (1, b"A")
        config.model_version_policy.specific.versions[:] = [7]
        with pytest.raises(grpc.RpcError) as caught:
            client.models.HandleReloadConfigRequest(request)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert client.ask() == (1, b"A")
        config.model_version_policy.latest.SetInParent()
        client.models.HandleReloadConfigRequest(request)
        assert client.ask() == (2, b"B")


def test_start_errors_name_the_folder_and_the_way_out(push: Push, tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="absent is not a folder: give the folder"):
        serve(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ServerStartError, match="empty holds no model"):
        serve(tmp_path / "empty")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(ServerStartError, match=r"Version 1 in .*broken cannot be loaded"):
        serve(tmp_path / "broken")
    model_dir = push(1, 0)
    with serve(model_dir) as server:
        port = int(server.grpc_address.rpartition(":")[2])
        with pytest.raises(ServerStartError, match=f"gRPC cannot listen on 127.0.0.1:{port}"):
            start_server(model_dir, grpc_port=port, rest_port=0)
        port = int(server.rest_address.rpartition(":")[2])
        with pytest.raises(ServerStartError, match=f"REST cannot listen on 127.0.0.1:{port}"):
            start_server(model_dir, grpc_port=0, rest_port=port)


def test_stop_twice_and_wait_returns(push: Push) -> None:
    server = serve(push(1, 0))
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    assert Client(server).ask() == (1, b"A")
    server.stop()
    server.stop()
    waiting.join(HANG)
    assert not waiting.is_alive()
    with pytest.raises(grpc.RpcError) as caught:
        Client(server).ask()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_wait_and_stop_the_server(push: Push, number: signal.Signals) -> None:
    server = serve(push(1, 0))
    before = signal.getsignal(number)

    def interrupt() -> None:
        wait_until(lambda: signal.getsignal(number) != before)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    server.wait()
    assert signal.getsignal(number) == before
    with pytest.raises(grpc.RpcError):
        Client(server).ask()
