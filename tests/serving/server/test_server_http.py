"""REST over connections that are slow, silent, too many, malformed, or send more than they may."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.server.run import RunningServer
from tests.serving.server.limited import (
    LIMITS,
    PREDICT,
    body_of,
    closed_after,
    limited,
    netloc,
    peak_memory,
    png,
    rest,
)
from tests.waiting import HANG, PATIENCE, wait_until

CODE = grpc.StatusCode


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
    limits = LIMITS.model_copy(update={"read_seconds": 1.0 * PATIENCE})
    request = b"GET /v1/models/breast_density/metadata HTTP/1.1\r\nHost: x\r\n\r\n"  # its response is long
    with limited(model_dir, limits) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.settimeout(HANG)
        connection.connect(netloc(server))

        def send_until_cut() -> None:
            while True:
                connection.sendall(request * 100)

        with pytest.raises(ConnectionError):  # once the responses fill all buffers
            send_until_cut()
