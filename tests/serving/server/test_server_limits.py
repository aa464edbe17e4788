"""Requests that are too many, too large, too slow or malformed get the documented code, and the server continues."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server.core import WorkQueue
from serving.server.run import RunningServer
from serving.wire.errors import StatusError
from tests.serving.server.limited import (
    LIMITS,
    METRICS,
    body_of,
    channel_to,
    closed_after,
    grader,
    limited,
    netloc,
    peak_memory,
    png,
    rest,
)
from tests.waiting import HANG, PATIENCE, wait_until

CODE = grpc.StatusCode


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
        error = full.exception()
        assert isinstance(error, StatusError)
        assert error.code == CODE.RESOURCE_EXHAUSTED
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
