"""Errors of the server: those that clients see, and those that prevent its start."""

from __future__ import annotations

import grpc


class StatusError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: Canonical status code; REST maps it to an HTTP code as TensorFlow Serving does.
        message: Text for the client, without paths of the host and without values of the request.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ServerStartError(RuntimeError):
    """The server cannot start. The message is one sentence that says what to do."""


class ModelLoadError(RuntimeError):
    """TensorFlow cannot load a folder as a SavedModel."""


def invalid_argument(message: str) -> StatusError:
    """Return the error of a request that its sender has to correct."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Return the error of a model or version that is not served."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def unimplemented(message: str) -> StatusError:
    """Return the error of a feature that TensorFlow Serving has and this server lacks."""
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)
