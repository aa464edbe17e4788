"""HTTP server of the REST paths: Starlette's requests on uvicorn and h11.

Differences from TensorFlow Serving: a body over the limit is refused with 413; a request that does not arrive in time
is refused or closes its connection; requests over the limit of connections get 503; TLS is supported.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.server import metrics
from serving.server.core import ServerCore
from serving.server.rest import HTTP_CODES, answer_get, answer_post
from serving.wire.errors import StatusError
from serving.wire.http import BodyError, HttpLimits, bind, http_server, read_body, refuse, serve_in_thread

_log = logging.getLogger(__name__)

_JSON: Final = "application/json"
_METHODS: Final = ("GET", "POST")


def gunzip(body: bytes, limit: int) -> bytes:
    """Decompress a gzip body.

    Args:
        body: One gzip member.
        limit: Largest result, bytes.

    Raises:
        BodyError: 413 for a larger result, 400 for bytes that are not one whole gzip member.
    """
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = stream.decompress(body, limit + 1)
    except zlib.error:
        raise BodyError(400, "The body is not gzip") from None
    if len(content) > limit:
        raise BodyError(413, f"Request body exceeds {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise BodyError(400, "The body is not one whole gzip member")
    return content


class RestApp:
    """ASGI application of the REST paths."""

    def __init__(self, core: ServerCore) -> None:
        """Create the application and its threads."""
        self._core = core
        self._limits = core.config.limits
        self._largest = self._limits.message_bytes * 4 // 3  # room for the base64 of the largest gRPC message
        self._threads = ThreadPoolExecutor(self._limits.connections, thread_name_prefix="rest")

    def close(self) -> None:
        """Start no more requests."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        arrived = time.monotonic()
        request = Request(scope, receive)
        if request.method not in _METHODS:
            await refuse(receive, send, 501, "Method is not supported", self._limits.head_seconds)
            return
        try:
            coding = request.headers.get("content-encoding", "identity").lower()
            if coding not in ("identity", "gzip"):
                raise BodyError(415, "Content-Encoding is not supported: send gzip, or no encoding")
            body = await read_body(scope, receive, self._largest, self._limits.read_seconds)
        except BodyError as error:
            await refuse(receive, send, error.status, error.message, self._limits.read_seconds)
            return
        gone = threading.Event()
        hung_up = asyncio.ensure_future(_wait_for_end(receive, gone))
        try:
            path = urlsplit(scope["raw_path"].decode("ascii")).path
            until = arrived + self._limits.request_seconds

            def answered() -> tuple[int, bytes, str]:
                if request.method == "GET":
                    return self._get(path)
                return self._post(path, body, coding == "gzip", until, gone)

            status, content, kind = await asyncio.get_running_loop().run_in_executor(self._threads, answered)
        finally:
            hung_up.cancel()
        await Response(content, status, media_type=None, headers={"content-type": kind})(scope, receive, send)

    def _get(self, path: str) -> tuple[int, bytes, str]:
        if path == self._core.config.metrics_path:
            return 200, self._core.metrics.page(), metrics.CONTENT_TYPE
        return self._checked(path, lambda: answer_get(self._core.manager, path))

    def _post(
        self, path: str, body: bytes, zipped: bool, until: float, gone: threading.Event
    ) -> tuple[int, bytes, str]:
        def content() -> bytes:
            return gunzip(body, self._largest) if zipped else body

        def wanted() -> bool:
            return not gone.is_set()

        return self._checked(path, lambda: answer_post(self._core, path, content, until, wanted))

    def _checked(self, path: str, answer: Callable[[], bytes]) -> tuple[int, bytes, str]:
        if not path.lower().startswith("/v1/"):
            return 404, _error("Not Found"), _JSON
        try:
            return 200, answer(), _JSON
        except StatusError as error:
            return HTTP_CODES.get(error.code, 500), _error(error.message), _JSON
        except BodyError as error:
            return error.status, _error(error.message), _JSON
        except Exception as error:
            _log.error("REST request failed: %s", type(error).__name__)
            return 500, _error("Internal error of the server"), _JSON


async def _wait_for_end(receive: Receive, gone: threading.Event) -> None:
    """Set the event when the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


class RestServer:
    """The HTTP server in a thread.

    Attributes:
        port: Port that it listens on.
    """

    def __init__(self, host: str, port: int, core: ServerCore, tls: ssl.SSLContext | None, stop_seconds: float) -> None:
        """Bind the port and start.

        Args:
            host: Address to listen on.
            port: Port; 0 takes a free one.
            core: The served model within its limits.
            tls: Certificates; ``None`` is plain text.
            stop_seconds: Time that running requests have at the stop, s.

        Raises:
            ListenError: The port is taken or not allowed.
        """
        limits = core.config.limits
        self._app = RestApp(core)
        self._socket: socket.socket = bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        bounds = HttpLimits(
            connections=limits.connections,
            per_address=limits.connections,  # a proxy has one address
            head_seconds=min(limits.read_seconds, limits.head_seconds),
            idle_seconds=limits.idle_seconds,
            write_seconds=limits.read_seconds,
        )
        self._server = http_server(self._app, bounds, stop_seconds, tls)
        self._thread = serve_in_thread(self._server, self._socket)

    def begin_stop(self) -> None:
        """Accept no more connections; running requests go on."""
        self._server.should_exit = True

    def join(self, seconds: float) -> None:
        """Wait until the running requests have their responses, or until the time is over."""
        self._thread.join(seconds)
        self._app.close()
        self._socket.close()
