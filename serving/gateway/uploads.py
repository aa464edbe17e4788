"""Receive uploads by HTTP within limits, and define the errors that clients see."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from serving.gateway.monitoring import log
from serving.gateway.multipart import MultipartError, MultipartReceiver, TooManyPartsError, media_type
from serving.gateway.spool import SpoolFullError, TooLargeError
from serving.gateway.studies import Studies

_BATCH_BYTES: Final = 1 << 20  # size of a batch that a thread writes and hashes
_RETRY_AFTER: Final = {"Retry-After": "5"}


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
