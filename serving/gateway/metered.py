"""Sockets that bound what a peer may send, in bytes and in time.

pynetdicom reads a PDU of any length that its peer announces, and messages without end, into memory, and waits for the
rest of a PDU as long as a byte now and then comes. Here both end where a real sender never gets.
"""

from __future__ import annotations

import socket
import ssl
import time


class Meter:
    """Mix-in of a socket: from `start` on it reads as closed once its peer has sent too much or for too long."""

    _left: float = float("inf")
    _budget: float = float("inf")
    _deadline: float = float("inf")

    def start(self, budget: int, seconds: float) -> None:
        """Sets the bounds.

        Args:
            budget: Most bytes until `renew`.
            seconds: Longest life, s.
        """
        self._budget = self._left = budget
        self._deadline = time.monotonic() + seconds

    def renew(self) -> None:
        """Allows the whole budget again: a message was dealt with."""
        self._left = self._budget

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Reads as a socket does; nothing once a bound is reached."""
        if self._left <= 0 or time.monotonic() > self._deadline:
            return b""
        # What is mixed in is a socket, which the mix-in alone does not show.
        data: bytes = super().recv(size, flags)  # type: ignore[misc]
        self._left -= len(data)
        return data


class MeteredSocket(Meter, socket.socket):
    """A socket with bounds."""


# Its `recv` names the arguments otherwise than the typeshed does.
class MeteredTlsSocket(Meter, ssl.SSLSocket):  # type: ignore[misc]
    """A TLS socket with bounds; a context makes it by its ``sslsocket_class``."""
