"""HTTP/1.1 server of the REST paths: one thread per connection, with limits for slow clients.

Differences from TensorFlow Serving: a body over the limit is refused with 413; a request that does not arrive in time
closes its connection; a connection over the limit is closed with 503; TLS is supported.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from serving.server import metrics
from serving.server.core import ServerCore
from serving.server.rest import HTTP_CODES, answer_get, answer_post
from serving.wire.errors import StatusError

_log = logging.getLogger(__name__)

_CHUNK: Final = 1 << 20
_JSON: Final = "application/json"
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 33\r\n"
    b'Connection: close\r\n\r\n{"error": "Too many connections"}'
)


class _BodyError(Exception):
    """A body was not read to its end, so the connection cannot be used again."""

    def __init__(self, code: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _TimedSocket(io.RawIOBase):
    """A socket with one time limit for a whole request, which single bytes do not extend."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = 0.0

    def allow(self, seconds: float) -> None:
        """Set the time limit for reading and writing, s from now."""
        self._until = time.monotonic() + seconds

    def _limit(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._limit()
        return self._connection.recv_into(buffer)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            self._limit()
            sent += self._connection.send(view[sent : sent + _CHUNK])
        return sent


class RestServer(ThreadingHTTPServer):
    """HTTP/1.1 server with one thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], core: ServerCore, tls: ssl.SSLContext | None = None) -> None:
        """Bind the port.

        Args:
            address: Host and port; port 0 takes a free one.
            core: The served model within its limits.
            tls: Certificates; ``None`` is plain text.

        Raises:
            OSError: The port is taken or not allowed.
        """
        super().__init__(address, _Handler)
        self.core = core
        self.limits = core.config.limits
        self.tls = tls
        self._places = threading.BoundedSemaphore(self.limits.connections)
        self._answering = 0
        self._idle = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread, or close it if there are too many."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        if self.tls is None:
            request.settimeout(0.0)
            try:
                request.send(_BUSY)
            except OSError:
                _log.debug("A connection ended early")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake in the thread of the connection, so that other clients do not wait for it."""
        if self.tls is not None:
            request.settimeout(self.limits.read_seconds)
            request = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)
        finally:
            if self.tls is not None:
                self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing on standard error about clients that hang up or do not use TLS."""
        _log.debug("A connection ended early")

    def count_answering(self, change: int) -> None:
        """Change the count of requests that arrived and have no response yet."""
        with self._idle:
            self._answering += change
            self._idle.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait until every request that arrived has a response, or until the time is over."""
        with self._idle:
            self._idle.wait_for(lambda: self._answering == 0, seconds)


class _Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # so a request that is not HTTP also gets a status line
    server_version = "BreastDensityServer"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self._timed = _TimedSocket(self.connection)
        self.rfile = io.BufferedReader(self._timed, _CHUNK)
        self.wfile = self._timed  # type: ignore[assignment]  # raw, declared as buffered

    def handle_one_request(self) -> None:
        self._timed.allow(self.server.limits.idle_seconds)
        try:
            waiting = self.rfile.peek(1)  # type: ignore[attr-defined]  # a BufferedReader, see setup
        except TimeoutError:
            waiting = b""
        if not waiting:
            self.close_connection = True
            return
        self._timed.allow(self.server.limits.read_seconds)
        super().handle_one_request()

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        try:
            body = self._body()
        except _BodyError as error:
            self.close_connection = True
            self._send(error.code, _error(error.message))
            self._discard_rest()
            return
        self._answer(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the log must not contain paths and client addresses."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a malformed request with JSON, without quoting it."""
        self.close_connection = True
        self._send(code, _error(f"Malformed request: {HTTPStatus(code).phrase}"))

    def _answer(self, body: bytes) -> None:
        self.server.count_answering(1)
        try:
            self._send(*self._answered(body))
        except OSError:
            self.close_connection = True  # the client hung up, or reads its response too slowly
        finally:
            self.server.count_answering(-1)

    def _answered(self, body: bytes) -> tuple[int, bytes, str]:
        core = self.server.core
        path = urlsplit(self.path).path
        try:
            if self.command == "GET" and path == core.config.metrics_path:
                return 200, core.metrics.page(), metrics.CONTENT_TYPE
            if not path.lower().startswith("/v1/"):
                return 404, _error("Not Found"), _JSON
            if self.command == "GET":
                return 200, answer_get(core.manager, path), _JSON
            return 200, answer_post(core, path, body), _JSON
        except StatusError as error:
            return HTTP_CODES.get(error.code, 500), _error(error.message), _JSON
        except Exception as error:
            _log.error("REST request failed: %s", type(error).__name__)
            return 500, _error("Internal error of the server"), _JSON

    def _send(self, code: int, content: bytes, content_type: str = _JSON) -> None:
        self._timed.allow(self.server.limits.read_seconds)
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _discard_rest(self) -> None:
        """Read what the client still sends. Closing with unread bytes would reset the connection and the response."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.rfile.read(_CHUNK):
                pass

    def _body(self) -> bytes:
        coding, lengths = self.headers.get("Transfer-Encoding"), self.headers.get_all("Content-Length", [])
        if len(lengths) + (coding is not None) > 1:  # RFC 9112 6.3: a proxy may have used the other length
            raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: more than one length of the body")
        if coding is not None:
            if coding.lower() != "chunked":
                raise _BodyError(HTTPStatus.NOT_IMPLEMENTED, "Transfer-Encoding is not supported")
            return self._chunked_body()
        length = lengths[0] if lengths else "0"
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: Content-Length is no number")
        self._check_size(int(length))
        return self._read(int(length))

    def _chunked_body(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
            except ValueError:
                raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: chunk size") from None
            if size < 0:
                raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: chunk size")
            self._check_size(len(body) + size)
            body += self._read(size)
            while self.rfile.readline(8192).strip():  # line end; after the last chunk, trailers
                if size:
                    raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: chunk end")
            if size == 0:
                return bytes(body)

    def _check_size(self, size: int) -> None:
        limit = self.server.limits.message_bytes * 4 // 3  # room for the base64 of the largest gRPC message
        if size > limit:
            raise _BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Request body exceeds {limit} bytes")

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.rfile.read(min(_CHUNK, size - len(parts)))
            if not part:
                raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: body ends early")
            parts += part
        return bytes(parts)


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()
