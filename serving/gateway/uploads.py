"""Receive multipart uploads (RFC 2046) by HTTP within limits, and define the errors that clients see.

Each part is written to a file of the spool while it arrives. No part is held in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from serving.gateway.monitoring import log
from serving.gateway.spool import Incoming, SpoolFullError, Staged, TooLargeError
from serving.gateway.studies import Studies

_BATCH_BYTES: Final = 1 << 20  # size of a batch that a thread writes and hashes
_RETRY_AFTER: Final = {"Retry-After": "5"}
_MAX_HEADERS: Final = 16
_MAX_HEADER_BYTES: Final = 4096


class HttpError(Exception):
    """A response other than success.

    Attributes:
        status: HTTP status.
        message: One sentence without patient identity.
        headers: Additional headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def busy(message: str) -> HttpError:
    """Return the response that asks the client to try again later."""
    return HttpError(503, message, _RETRY_AFTER)


def disk_full(error: SpoolFullError) -> HttpError:
    """Return the response to a full disk."""
    log.error("HTTP: an upload refused, the disk is full")
    return HttpError(507, str(error), _RETRY_AFTER)


class MultipartError(Exception):
    """The body does not match its header. The message is one sentence."""


class TooManyPartsError(Exception):
    """The body has too many parts."""


@dataclass(frozen=True)
class BodyPart:
    """One complete part of a body.

    Attributes:
        content_type: Media type in lower case without parameters; empty if the part has none.
        file: Content of the part on disk.
    """

    content_type: str
    file: Staged


def media_type(header: str | None) -> tuple[str, dict[str, str]]:
    """Split a ``Content-Type`` into the media type in lower case and its parameters."""
    kind, options = parse_options_header(header)
    decoded = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()}
    return kind.decode("latin-1").lower(), decoded


class MultipartReceiver:
    """Receives a body in chunks. Always call `discard` at the end, also after an error."""

    def __init__(self, boundary: str, receive: Callable[[], Incoming], max_parts: int, files_only: bool) -> None:
        """Prepare a receiver.

        Args:
            boundary: Parameter ``boundary`` of the body's ``Content-Type``.
            receive: Opens a file for a part.
            max_parts: Largest number of parts.
            files_only: Skip parts that are not files of a form (RFC 7578).

        Raises:
            MultipartError: RFC 2046 does not allow the boundary.
        """
        if not 1 <= len(boundary) <= 70:
            raise MultipartError("The Content-Type names no boundary: send multipart as RFC 2046 has it.")
        self._receive = receive
        self._max_parts = max_parts
        self._files_only = files_only
        self._files: list[Incoming] = []
        self._parts: list[BodyPart] = []
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
        """Receive the next bytes of the body.

        Raises:
            MultipartError: The bytes are not multipart.
            TooLargeError: A part is too large.
            TooManyPartsError: There are too many parts.
            SpoolFullError: The disk is full.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:  # its text quotes the body
            raise MultipartError("The body is no multipart of the boundary that its header names.") from error

    def finish(self) -> list[BodyPart]:
        """Return the parts, all flushed to disk, at the end of the body.

        Raises:
            MultipartError: The body is incomplete.
        """
        if not self._ended:
            raise MultipartError("The body ends before its last boundary: send it again. Nothing of it was accepted.")
        return self._parts

    def discard(self) -> None:
        """Remove the files of all parts that were not moved."""
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
            self._parts.append(BodyPart(kind, self._current.finish()))
            self._current = None

    def _last(self) -> None:
        self._ended = True


class Uploads:
    """Receives a limited number of bodies at the same time."""

    def __init__(self, studies: Studies) -> None:
        self._studies = studies
        self._under_way = 0

    async def receive(self, request: Request, subtype: str) -> MultipartReceiver:
        """Receive a complete multipart body.

        Args:
            request: The request; its body is not read yet.
            subtype: ``related`` (STOW-RS) or ``form-data``.

        Returns:
            The receiver with all parts on disk. The caller must call its `discard` after moving the parts.

        Raises:
            HttpError: The body was not received; nothing of it is kept.
        """
        config = self._studies.config
        kind, options = media_type(request.headers.get("content-type"))
        if kind != f"multipart/{subtype}":
            raise HttpError(415, f"The Content-Type must be multipart/{subtype}.")
        if subtype == "related" and options.get("type", "application/dicom").lower() != "application/dicom":
            raise HttpError(415, 'The parts must be application/dicom: send type="application/dicom".')
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > config.limits.request_bytes:
            raise _too_large(f"An upload may have up to {config.limits.request_bytes} bytes.")
        if self._under_way >= config.http.max_uploads:
            raise busy("Too many uploads are under way: try again later.")
        self._under_way += 1
        receiver = None
        try:
            receiver = MultipartReceiver(
                options.get("boundary", ""),
                lambda: self._studies.spool.receive(config.limits.instance_bytes),
                config.limits.instances,
                files_only=subtype == "form-data",
            )
            await self._read(request, receiver)
            receiver.finish()
        except BaseException as error:
            if receiver is not None:
                receiver.discard()
            raise self._http_error(error) from None
        finally:
            self._under_way -= 1
        return receiver

    async def _read(self, request: Request, receiver: MultipartReceiver) -> None:
        http, limits = self._studies.config.http, self._studies.config.limits
        deadline = time.monotonic() + http.upload_seconds
        chunks = request.stream().__aiter__()
        batch, total = bytearray(), 0
        while True:
            wait = min(http.idle_seconds, deadline - time.monotonic())
            try:
                chunk = await asyncio.wait_for(chunks.__anext__(), max(wait, 0.001))
            except StopAsyncIteration:
                break
            total += len(chunk)
            if total > limits.request_bytes:
                raise _too_large(f"An upload may have up to {limits.request_bytes} bytes.")
            batch += chunk
            if len(batch) >= _BATCH_BYTES:
                await run_in_threadpool(receiver.write, bytes(batch))
                batch.clear()
        await run_in_threadpool(receiver.write, bytes(batch))

    def _http_error(self, error: BaseException) -> BaseException:
        limits = self._studies.config.limits
        if isinstance(error, MultipartError):
            return HttpError(400, str(error))
        if isinstance(error, TooLargeError):
            return _too_large(f"A file may have up to {limits.instance_bytes} bytes.")
        if isinstance(error, TooManyPartsError):
            return _too_large(f"An upload may have up to {limits.instances} files.")
        if isinstance(error, SpoolFullError):
            return disk_full(error)
        if isinstance(error, asyncio.TimeoutError):
            return HttpError(408, "The upload took too long: send it again.", {"Connection": "close"})
        if isinstance(error, ClientDisconnect):
            return HttpError(400, "The upload ended early.")
        return error


def _too_large(message: str) -> HttpError:
    return HttpError(413, message, {"Connection": "close"})
