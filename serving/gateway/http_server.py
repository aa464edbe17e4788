"""The HTTP server of the gateway, with a time limit for the head of a request.

uvicorn waits for the head of a request without limit. So a few hundred slow connections could occupy all of
`HttpConfig.max_connections`. `serving.gateway.uploads` limits the time of bodies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.gateway.app import create_app
from serving.gateway.config import GatewayConfigError, HttpConfig
from serving.gateway.studies import Studies

STOP_SECONDS: Final = 10.0


def prompt_protocol(seconds: float) -> type[H11Protocol]:
    """Return the protocol for uvicorn's option ``http``.

    Args:
        seconds: Longest time from the first byte of a request, or from the connection, to the end of its head, s.
    """

    class PromptProtocol(H11Protocol):
        _hang_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.conn.their_state is not h11.IDLE:  # the head arrived
                self._stop_watching()
            elif self._hang_up is None:
                self._hang_up = self.loop.call_later(seconds, self.transport.close)

        def _stop_watching(self) -> None:
            if self._hang_up is not None:
                self._hang_up.cancel()
                self._hang_up = None

    return PromptProtocol


def bind_http(config: HttpConfig) -> socket.socket:
    """Bind the port, so that port 0 is known before the server starts.

    Raises:
        GatewayConfigError: The address or port cannot be used.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((config.host, config.port))
    except OSError as error:
        found.close()
        raise GatewayConfigError(
            f"HTTP cannot listen on {config.host}:{config.port} ({error.strerror}): choose another port."
        ) from error
    return found


def web_server(config: HttpConfig, studies: Studies, token: str, is_ready: Callable[[], bool]) -> uvicorn.Server:
    """Return the server.

    Args:
        config: Limits and TLS.
        studies: The studies.
        token: Bearer token of the routes.
        is_ready: Returns True if the model server can grade.
    """
    tls = config.tls
    settings = uvicorn.Config(
        create_app(studies, token, is_ready),
        http=prompt_protocol(config.idle_seconds),
        ws="none",
        proxy_headers=False,
        log_config=None,  # the default logs every path
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=config.max_connections,
        timeout_graceful_shutdown=int(STOP_SECONDS),
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
        ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
        ssl_cert_reqs=2 if tls and tls.client_ca else 0,  # ssl.CERT_REQUIRED, ssl.CERT_NONE
    )
    return uvicorn.Server(settings)
