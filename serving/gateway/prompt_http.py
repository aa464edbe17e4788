"""HTTP connections whose requests must begin promptly.

uvicorn waits for the head of a request for ever; a few hundred connections that dribble it would hold all of
`HttpConfig.max_connections`. Bodies are bounded in `serving.gateway.uploads`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def prompt_protocol(seconds: float) -> type[H11Protocol]:
    """Makes the protocol for uvicorn's option ``http``.

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
            if self.conn.their_state is not h11.IDLE:  # the head is there
                self._stop_watching()
            elif self._hang_up is None:
                self._hang_up = self.loop.call_later(seconds, self.transport.close)

        def _stop_watching(self) -> None:
            if self._hang_up is not None:
                self._hang_up.cancel()
                self._hang_up = None

    return PromptProtocol
