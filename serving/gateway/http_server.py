"""The HTTP server of the gateway; `serving.gateway.uploads` limits the time of bodies."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from serving.gateway.app import PROBES, create_app
from serving.gateway.config import GatewayConfigError, HttpConfig, tls_errors
from serving.gateway.studies import Studies
from serving.wire.http import HttpLimits, ListenError, bind, http_server

STOP_SECONDS: Final = 10.0


def bind_http(config: HttpConfig) -> socket.socket:
    """Bind the port, so that port 0 is known before the server starts.

    Raises:
        GatewayConfigError: The address or port cannot be used.
    """
    try:
        return bind(config.host, config.port)
    except ListenError as error:
        raise GatewayConfigError(
            f"HTTP cannot listen on {config.host}:{config.port} ({error}): choose another port."
        ) from error


def web_server(config: HttpConfig, studies: Studies, token: str, is_ready: Callable[[], bool]) -> uvicorn.Server:
    """Return the server.

    Args:
        config: Limits and TLS.
        studies: The studies.
        token: Bearer token of the routes.
        is_ready: Returns True if the model server can grade.

    Raises:
        GatewayConfigError: A TLS file cannot be used.
    """
    limits = HttpLimits(
        connections=config.max_connections,
        per_address=config.max_connections_per_address or config.max_connections,
        head_seconds=config.head_seconds,
        idle_seconds=config.idle_seconds,
        write_seconds=config.idle_seconds,
        always=PROBES,
    )
    with tls_errors():
        tls = None if config.tls is None else config.tls.context()
    return http_server(create_app(studies, token, is_ready), limits, STOP_SECONDS, tls)
