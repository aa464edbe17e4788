"""Multipart bodies (RFC 2046) while they arrive: each part goes to a file of the spool, none is held in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.gateway.spool import Incoming, Staged

_MAX_HEADERS: Final = 16
_MAX_HEADER_BYTES: Final = 4096


class MultipartError(Exception):
    """The body is not what its header says. One sentence."""


class TooManyPartsError(Exception):
    """The body has more parts than it may."""


@dataclass(frozen=True)
class Part:
    """One part that was received whole.

    Attributes:
        content_type: Its media type in lower case without parameters; empty where it names none.
        file: Its bytes, on disk.
    """

    content_type: str
    file: Staged


def media_type(header: str | None) -> tuple[str, dict[str, str]]:
    """Takes a ``Content-Type`` apart: media type in lower case, and its parameters."""
    kind, options = parse_options_header(header)
    decoded = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()}
    return kind.decode("latin-1").lower(), decoded


class MultipartReceiver:
    """Receives a body, chunk by chunk. Call `discard` in the end, whatever happens."""

    def __init__(self, boundary: str, receive: Callable[[], Incoming], max_parts: int, files_only: bool) -> None:
        """Begins.

        Args:
            boundary: Parameter ``boundary`` of the body's ``Content-Type``.
            receive: Opens a file for a part.
            max_parts: Most parts that are taken.
            files_only: Skip parts that are no file of a form (RFC 7578).

        Raises:
            MultipartError: There is no boundary, or none that RFC 2046 allows.
        """
        if not 1 <= len(boundary) <= 70:
            raise MultipartError("The Content-Type names no boundary: send multipart as RFC 2046 has it.")
        self._receive = receive
        self._max_parts = max_parts
        self._files_only = files_only
        self._files: list[Incoming] = []
        self._parts: list[Part] = []
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        self._current: Incoming | None = None
        self._count = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary.encode("latin-1", "replace"),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._open,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._last,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes of the body.

        Raises:
            MultipartError: They are no multipart.
            TooLargeError: A part is too large.
            TooManyPartsError: There are too many.
            SpoolFullError: There is no room.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:  # its text quotes what was received
            raise MultipartError("The body is no multipart of the boundary that its header names.") from error

    def finish(self) -> list[Part]:
        """Ends the body.

        Returns:
            Its parts, all flushed to disk.

        Raises:
            MultipartError: It was cut short.
        """
        if not self._ended:
            raise MultipartError("The body ends before its last boundary: send it again. Nothing of it was accepted.")
        return self._parts

    def discard(self) -> None:
        """Removes the files of all parts that were not moved away."""
        for file in self._files:
            file.discard()

    def _begin(self) -> None:
        self._headers, self._name, self._value = {}, b"", b""
        self._count += 1
        if self._count > self._max_parts:
            raise TooManyPartsError

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _open(self) -> None:
        if self._files_only:
            _, options = media_type(self._headers.get("content-disposition"))
            if "filename" not in options:
                return
        self._current = self._receive()
        self._files.append(self._current)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._current is not None:
            kind, _ = media_type(self._headers.get("content-type"))
            self._parts.append(Part(kind, self._current.finish()))
            self._current = None

    def _last(self) -> None:
        self._ended = True
