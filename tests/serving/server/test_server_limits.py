"""Requests that are too many, too large, too slow or malformed get the documented code, and the server continues."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server.config import Limits, ServedModel, ServerConfig
from serving.server.core import WorkQueue
from serving.server.run import RunningServer, run_server
from serving.wire.errors import StatusError
from tests.waiting import HANG, PATIENCE, wait_until

CODE = grpc.StatusCode
PREDICT = "/v1/models/breast_density:predict"
METRICS = "/metrics"
LIMITS = Limits(message_bytes=200_000, read_seconds=1.0, idle_seconds=1.5, running=1, queued=2, connections=20)


def png(grey: int, size: int = 16) -> bytes:
    return cv2.imencode(".png", np.full((size, size), grey, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def model_dir(saved_models: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits") / "models"
    shutil.copytree(saved_models[0], folder / "3")
    return folder


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


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[RunningServer]:
    with limited(model_dir, LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with channel_to(server) as opened:
        yield opened


@pytest.fixture
def ask(channel: grpc.Channel) -> Callable[..., str]:
    """Grade images by gRPC; return the class of the first one, or the name of the status code."""
    return grader(channel)


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


def predictions_run(server: RunningServer) -> int:
    connection = http.client.HTTPConnection(*netloc(server), timeout=HANG)
    connection.request("GET", METRICS)
    page = connection.getresponse().read().decode()
    connection.close()
    return sum(
        int(line.split()[-1])
        for line in page.splitlines()
        if line.startswith(":tensorflow:serving:runtime_latency_count")
    )


@contextmanager
def busy(server: RunningServer) -> Iterator[None]:
    """Occupy the only place for running predictions within the context."""
    begun, go_on = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go_on.wait(HANG)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.core.work.run, call, HANG)
        assert begun.wait(HANG)
        try:
            yield
        finally:
            go_on.set()


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


def test_full_queue_refuses_and_answers_afterwards(server: RunningServer, ask: Callable[..., str]) -> None:
    with ThreadPoolExecutor(6) as pool:
        with busy(server):
            by_grpc = [pool.submit(ask, [png(30)]) for _ in range(6)]
            refused = list(islice(as_completed(by_grpc, timeout=HANG), 4))
            code, answer = rest(server, body_of([png(30)]))
        answers = Counter(future.result(timeout=HANG) for future in by_grpc)
    assert {future.result() for future in refused} == {"RESOURCE_EXHAUSTED"}
    assert (code, answer) == (429, {"error": "Server Threadpool Exhausted"})
    assert answers == {"A": LIMITS.queued, "RESOURCE_EXHAUSTED": 4}
    assert ask([png(200)]) == "D"
    assert rest(server, body_of([png(200)]))[0] == 200


def test_requests_whose_time_is_over_are_not_run(server: RunningServer, ask: Callable[..., str]) -> None:
    before = predictions_run(server)
    with ThreadPoolExecutor(2) as pool, busy(server):
        assert set(pool.map(lambda _: ask([png(30)], 0.1), range(2))) == {"DEADLINE_EXCEEDED"}
    assert ask([png(30)]) == "A"
    assert predictions_run(server) == before + 1


def test_flood_gives_right_answers_or_documented_codes(model_dir: Path) -> None:
    # With time to read: to a server that a busy machine holds up, any client is a slow one.
    limits = LIMITS.model_copy(update={"read_seconds": 60.0})
    with limited(model_dir, limits) as server, channel_to(server) as channel:
        flood(server, grader(channel))


def flood(server: RunningServer, ask: Callable[..., str]) -> None:
    greys = [(20, "A"), (90, "B"), (150, "C"), (230, "D")]

    def answer_of(number: int) -> str:
        """Return the class or the status of one request; nothing if the server is busy."""
        picture = png(greys[number % 4][0], 400)
        if number % 3:
            got = ask([picture])
        else:
            code, answer = rest(server, body_of([picture]))
            got = answer["predictions"][0]["density"] if code == 200 else str(code)
        return "" if got in ("RESOURCE_EXHAUSTED", "429") else got

    def one(number: int) -> tuple[str, str]:
        return wait_until(lambda: answer_of(number)), greys[number % 4][1]

    # A refused client comes again, so each request has its right answer in the end, on a slow machine too.
    with ThreadPoolExecutor(16) as pool:
        results = [future.result(timeout=2 * HANG) for future in [pool.submit(one, number) for number in range(200)]]
    assert [(got, right) for got, right in results if got != right] == []
    assert ask([png(200)]) == "D"


def test_oversized_requests(server: RunningServer, ask: Callable[..., str]) -> None:
    assert ask([bytes(250_000)]) == "RESOURCE_EXHAUSTED"
    code, answer = rest(server, b" " * 300_000)
    assert code == 413
    assert answer == {"error": f"Request body exceeds {200_000 * 4 // 3} bytes"}
    code, _ = rest(server, b" " * 8_000_000)  # more than the socket buffers hold
    assert code == 413
    assert ask([png(200)]) == "D"


def test_slow_rest_clients_are_cut(server: RunningServer, ask: Callable[..., str]) -> None:
    heads = {
        "silent": b"",
        "header": b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "body": b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n",
    }

    def dribble(head: bytes) -> float:
        started = time.monotonic()
        with socket.create_connection(netloc(server)) as connection:
            connection.sendall(head)
            connection.settimeout(0.1)
            while time.monotonic() < started + HANG:
                try:
                    if head:
                        connection.sendall(b"x")
                    if not connection.recv(100):
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        return time.monotonic() - started

    with ThreadPoolExecutor(3) as pool:
        lasted = list(pool.map(dribble, heads.values()))
    assert max(lasted) < 5 * PATIENCE, dict(zip(heads, lasted, strict=True))
    assert ask([png(200)]) == "D"


def test_slow_grpc_uploads_are_cut(server: RunningServer, channel: grpc.Channel, ask: Callable[..., str]) -> None:
    # A call whose message never comes: a client that streams towards the unary method.
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        never.wait(HANG)
        yield b""

    method = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    calls = [method.future(requests(), timeout=HANG) for _ in range(4)]
    started = time.monotonic()
    assert ask([png(200)]) == "D"  # the others are not held up
    codes = {call.exception().code() for call in calls}
    assert codes == {CODE.CANCELLED}
    assert time.monotonic() - started < 5 * PATIENCE
    never.set()
    assert ask([png(200)]) == "D"


def test_connections_with_a_request_over_the_limit_get_503(model_dir: Path) -> None:
    limits = LIMITS.model_copy(update={"read_seconds": HANG, "connections": 8})
    head = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"
    with limited(model_dir, limits) as server:
        held = [socket.create_connection(netloc(server), timeout=HANG) for _ in range(limits.connections)]
        try:
            for connection in held:
                connection.sendall(head)
                assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the server has read the head
            assert rest(server, body_of([png(200)])) == (503, {"error": "Too many connections"})
        finally:
            for connection in held:
                connection.close()
        wait_until(lambda: rest(server, body_of([png(200)]))[0] == 200, pause=0.05)


def test_a_new_connection_takes_the_place_of_the_oldest_silent_one(server: RunningServer) -> None:
    held = [socket.create_connection(netloc(server), timeout=HANG) for _ in range(3 * LIMITS.connections)]
    try:
        assert rest(server, body_of([png(200)]))[0] == 200
        assert held[0].recv(1) == b""
    finally:
        for connection in held:
            connection.close()


def _post(headers: bytes) -> bytes:
    return b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"\x00" * 70_000 + b"\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", b"501"),
        (b"GET /v1/models/breast_density HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET /v1/models/breast_density HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"GET /v1/models/breast_density HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", b"400"),
        (_post(b"Content-Length: " + b"9" * 5000), b"400"),
        (_post(b"Content-Length: 2\r\nContent-Length: 9") + b"{}", b"400"),
        (_post(b"Content-Length: 2\r\nTransfer-Encoding: chunked") + b"{}", b"400"),
        (_post(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", b"400"),
        (_post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n", b"400"),
        (_post(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", b"400"),
        *(
            (_post(b"Transfer-Encoding: chunked") + size + b"\r\n" + b"a" * 17 + b"\r\n0\r\n\r\n", b"400")
            for size in (b"-5", b"0x11", b"+11", b"1_1", b" 11 ", b"0" * 60 + b"11", b"11 11", b"")
        ),
    ],
)
def test_malformed_http(server: RunningServer, sent: bytes, code: bytes) -> None:
    with socket.create_connection(netloc(server), timeout=HANG) as connection:
        connection.sendall(sent)
        answer = connection.recv(4096)
        assert answer.split(b" ")[1] == code
        assert closed_after(connection) < 5 * PATIENCE


def test_malformed_grpc(server: RunningServer, channel: grpc.Channel, ask: Callable[..., str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff" * 50, timeout=HANG)
    assert caught.value.code() == CODE.INTERNAL
    host, _, port = server.grpc_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=HANG) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000)
        assert closed_after(connection) < 10 * PATIENCE
    assert ask([png(200)]) == "D"


def test_work_queue_stop_refuses_those_that_wait_at_once() -> None:
    work = WorkQueue(running=1, queued=1)
    begun, go_on = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        go_on.wait(HANG)
        return "done"

    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(work.run, call, HANG)
        assert begun.wait(HANG)
        asked = [pool.submit(work.run, lambda: "never", HANG) for _ in range(2)]
        (full,) = islice(as_completed(asked, timeout=HANG), 1)  # one of the two waits, the other finds no place
        work.stop()
        (waiting,) = set(asked) - {full}
        assert isinstance(full.exception(), StatusError)
        assert full.exception().code == CODE.RESOURCE_EXHAUSTED
        error = waiting.exception(timeout=HANG)
        assert isinstance(error, StatusError)
        assert error.code == CODE.UNAVAILABLE
        go_on.set()
        assert running.result(timeout=HANG) == "done"
    with pytest.raises(StatusError) as stopped:
        work.run(lambda: "never", 1.0)
    assert stopped.value.code == CODE.UNAVAILABLE


def test_strings_cost_what_was_sent(channel: grpc.Channel, ask: Callable[..., str]) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "breast_density"
    request.model_spec.signature_name = "predict_view"
    for name, value in (("image_bytes", png(200)), ("view", b"CC_R")):
        tensor = request.inputs[name]
        tensor.dtype = tf.string.as_datatype_enum
        tensor.tensor_shape.dim.add(size=33_000_000)
        tensor.string_val.append(value)
    before = peak_memory()
    with pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=HANG)
    assert caught.value.code() == CODE.INVALID_ARGUMENT
    assert caught.value.details().startswith("tensor parsing error: ")
    assert peak_memory() - before < 50 << 20
    assert ask([png(200)]) == "D"


def peak_memory() -> int:
    """Return the largest memory of this process so far, bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("instance", ["[]", "{}", '{"b64":""}', "0"])
def test_many_small_instances_are_refused_before_they_are_parsed(model_dir: Path, instance: str) -> None:
    limits = LIMITS.model_copy(update={"message_bytes": 8 << 20, "read_seconds": HANG})
    body = ('{"instances":[' + ",".join([instance] * 600_000) + "]}").encode()
    with limited(model_dir, limits) as server:
        before = peak_memory()
        code, answer = rest(server, body)
        assert (code, answer) == (400, {"error": "JSON Value: ... The document has more than 100000 values"})
        assert peak_memory() - before < 100 << 20
        few = ('{"instances":[' + ",".join(['"a"'] * 5000) + "]}").encode()
        assert rest(server, few) == (400, {"error": "JSON Value: ... 'instances' has more than 4096 entries"})


def test_gzip_bodies_are_inflated_within_the_limit(server: RunningServer) -> None:
    def zipped(content: bytes) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*netloc(server), timeout=HANG)
        connection.request("POST", PREDICT, content, {"Content-Encoding": "gzip"})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    whole = gzip.compress(body_of([png(200)]))
    code, answer = zipped(whole)
    assert (code, answer["predictions"][0]["density"]) == (200, "D")
    assert zipped(gzip.compress(bytes(100_000_000)))[0] == 413
    for broken in (whole[:-9], whole + b"x", b"no gzip", whole + whole):
        assert zipped(broken)[0] == 400


def test_client_that_does_not_read_loses_its_connection(model_dir: Path) -> None:
    limits = LIMITS.model_copy(update={"message_bytes": 8 << 20, "read_seconds": 1.0 * PATIENCE})
    request = body_of([png(200)])
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(request))
    with limited(model_dir, limits) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.settimeout(HANG)
        connection.connect(netloc(server))

        def send_until_cut() -> None:
            while True:
                connection.sendall((head + request) * 100)

        with pytest.raises(ConnectionError):  # once the responses fill all buffers
            send_until_cut()
