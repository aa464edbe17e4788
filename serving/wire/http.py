"""HTTP/1.1 for the model server and the gateway: uvicorn and h11, with limits for connections, heads and bodies.

uvicorn alone waits for the head of a request, and for a client that reads its response, without limit. h11 rejects
malformed framing (RFC 9112); :class:`RequestGate` rejects the remaining forms that a proxy may read differently.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_MOST: Final = 4  # times `HttpLimits.connections`: sockets that are open at the same time
_START_SECONDS: Final = 0.01
_WITHOUT_BODY: Final = ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE")


class ListenError(Exception):
    """An address or a port cannot be used. The message is the reason of the operating system."""


class BodyError(Exception):
    """The body of a request cannot be used.

    Attributes:
        status: HTTP status.
        message: One sentence without values of the request.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class HttpLimits:
    """Limits of a server.

    Attributes:
        connections: Connections at the same time. A new connection takes the place of the one that is idle for the
            longest time; if all have a request, requests on further connections get 503.
        per_address: The same per client address.
        head_seconds: Longest time from the connection, or the first byte, to the end of the head of a request, s.
        idle_seconds: Time after which a connection without a request is closed, s.
        write_seconds: Longest time for which a client may leave its response unread, s.
        always: Paths that are answered at any load: health and readiness.
    """

    connections: int
    per_address: int
    head_seconds: float
    idle_seconds: float
    write_seconds: float
    always: tuple[str, ...] = ()


def bind(host: str, port: int) -> socket.socket:
    """Bind a port, so that port 0 is known before the server starts.

    Raises:
        ListenError: The address or port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets that name TCP; with it, each response waits 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ListenError(error.strerror or str(error)) from error
    return found


def http_server(app: ASGIApp, limits: HttpLimits, stop_seconds: float, tls: ssl.SSLContext | None) -> uvicorn.Server:
    """Return a server for a bound socket: ``server.run(sockets=[bind(host, port)])``.

    Args:
        app: ASGI application.
        limits: Limits of connections.
        stop_seconds: Time that running requests have to end after ``server.should_exit``, s.
        tls: Certificates; ``None`` is plain text.
    """
    config = uvicorn.Config(
        RequestGate(app, limits),
        http=limited_protocol(limits),
        ws="none",
        proxy_headers=False,
        log_config=None,  # the default logs every path
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=max(1, round(stop_seconds)),
    )
    config.load()
    config.ssl = tls
    return uvicorn.Server(config)


def serve_in_thread(server: uvicorn.Server, bound: socket.socket) -> threading.Thread:
    """Run a server in a thread, and return it when the server answers.

    Raises:
        ListenError: The server ended at its start.
    """
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="http", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ListenError("the server ended at its start")
        time.sleep(_START_SECONDS)
    return thread


def limited_protocol(limits: HttpLimits) -> type[H11Protocol]:
    """Return the protocol for uvicorn's option ``http``."""

    class LimitedProtocol(H11Protocol):
        _hang_up: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None
        idle_since = 0.0
        leaving = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.idle_since = self.loop.time()
            if len(self.connections) > _MOST * limits.connections:
                self.leaving = True
                transport.abort()
                return
            self._make_room()
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._hang_up = _cancelled(self._hang_up)
            self._unread = _cancelled(self._unread)
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self.idle_since = self.loop.time()
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(limits.write_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._unread = _cancelled(self._unread)
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # in the middle of a response
                self.transport.abort()
                return
            body = json.dumps({"error": "Malformed request"}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
            self.transport.close()

        def is_idle(self) -> bool:
            return self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE

        def _make_room(self) -> None:
            """If there are too many connections, of this address or in all, close the one that is idle for longest."""
            others = [other for other in self.connections if isinstance(other, LimitedProtocol) and other is not self]
            present = [other for other in others if not other.leaving]
            same = [other for other in present if self.client and other.client and other.client[0] == self.client[0]]
            for found, most in ((same, limits.per_address), (present, limits.connections)):
                idle = [other for other in found if other.is_idle() and not other.leaving]
                if sum(not other.leaving for other in found) >= most and idle:
                    oldest = min(idle, key=lambda other: other.idle_since)
                    oldest.leaving = True
                    oldest.transport.close()

        def _watch(self) -> None:
            if self.conn.their_state is not h11.IDLE:  # the head arrived
                self._hang_up = _cancelled(self._hang_up)
            elif self._hang_up is None:
                self._hang_up = self.loop.call_later(limits.head_seconds, self.transport.close)

    return LimitedProtocol


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one, and return None."""
    if timer is not None:
        timer.cancel()
    return None


class RequestGate:
    """Rejects requests over the limits and requests whose framing another server may read differently."""

    def __init__(self, app: ASGIApp, limits: HttpLimits) -> None:
        self._app = app
        self._limits = limits
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        if not _is_plain(scope):
            await refuse(receive, send, 400, "Malformed request", self._limits.head_seconds)
            return
        if scope["path"] in self._limits.always:
            await self._app(scope, receive, send)
            return
        address = (scope["client"] or ("",))[0]
        if self._running.total() >= self._limits.connections or self._running[address] >= self._limits.per_address:
            await refuse(receive, send, 503, "Too many connections", self._limits.head_seconds)
            return
        self._running[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[address] -= 1
            if not self._running[address]:
                del self._running[address]


def _is_plain(scope: Scope) -> bool:
    """Return False for a body where none belongs, and for two ways to frame one (RFC 9112 6.1, 6.3)."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    coded = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    if coded and (lengths or scope["http_version"] != "1.1"):
        return False
    return scope["method"] not in _WITHOUT_BODY or not (coded or any(int(length) for length in lengths))


async def refuse(receive: Receive, send: Send, status: int, message: str, seconds: float) -> None:
    """Send an error before the body was read, drop what the client still sends, and close the connection.

    A connection that is closed with unread bytes is reset, and the client loses the response.

    Args:
        receive: ASGI's function.
        send: ASGI's function.
        status: HTTP status.
        message: Text for the client.
        seconds: Longest time to drop bytes, s.
    """
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})

    async def drop() -> None:
        while (await receive()).get("more_body", False):
            pass

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drop(), seconds)
    await send({"type": "http.response.body", "body": b""})


async def read_body(scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
    """Read the body of a request.

    Args:
        scope: The request.
        receive: ASGI's function.
        limit: Largest body, bytes.
        seconds: Longest time, s.

    Raises:
        BodyError: 413 for a larger body, 408 for a slow one, 400 if the client hung up.
    """
    too_large = BodyError(413, f"Request body exceeds {limit} bytes")
    if any(int(value) > limit for name, value in scope["headers"] if name == b"content-length"):
        raise too_large
    parts = bytearray()

    async def read() -> None:
        more = True
        while more:
            message: Message = await receive()
            if message["type"] != "http.request":
                raise BodyError(400, "Malformed request: body ends early")
            parts.extend(message.get("body", b""))
            more = message.get("more_body", False)
            if len(parts) > limit:
                raise too_large

    try:
        await asyncio.wait_for(read(), seconds)
    except asyncio.TimeoutError:
        raise BodyError(408, "The body did not arrive in time") from None
    return bytes(parts)
