"""Errors of the server: what a client is told, and what stops the server from starting."""

from __future__ import annotations

import grpc


class StatusError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: Canonical status code; REST maps it to an HTTP code as TensorFlow Serving does.
        message: What the client is told. Holds no path of the host and no value of the request.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ServerStartError(RuntimeError):
    """The server cannot start: nothing to serve, or a port that is taken. One sentence with the way out."""


class ModelLoadError(RuntimeError):
    """A folder that is no SavedModel TensorFlow can load."""


def invalid_argument(message: str) -> StatusError:
    """Makes the error of a request that its sender has to correct."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Makes the error of a model or version that is not served."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def unimplemented(message: str) -> StatusError:
    """Makes the error of what TensorFlow Serving offers and this stand-in does not."""
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)
