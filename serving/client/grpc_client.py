"""Client of a model server: TensorFlow Serving or the local one. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import grpc
from numpy.typing import NDArray

from serving.client.grader import FULL_QUEUE, Grader, lacks_signature, refused_by_model
from serving.client.grades import (
    InvalidExamError,
    ModelNotFoundError,
    ServerBusyError,
    ServerUnreachableError,
    ServingError,
)
from serving.wire.prediction import PREDICT, Answer, AnswerError, predict_request, read_answer

DEFAULT_MODEL_NAME: Final = "breast_density"
_MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Open a channel to a model server; ``credentials`` are for TLS, ``None`` is plain text."""
    options = [
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),  # images of patients stay inside the network
    ]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


class ExamClient(Grader):
    """Grades exams on a model server by gRPC. Threads may share it; close it, or use it in ``with``."""

    def __init__(
        self,
        address: str,
        model_name: str = DEFAULT_MODEL_NAME,
        timeout_s: float = 60.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Prepare a client; the first call connects.

        Args:
            address: ``host:port`` of the server's gRPC.
            model_name: Name of the model on the server.
            timeout_s: Longest wait for a response, s.
            credentials: TLS credentials; ``None`` is plain text.
        """
        self.address = address
        self.model_name = model_name
        self.timeout_s = timeout_s
        self._channel = open_channel(address, credentials)
        self._predict = self._channel.unary_unary(PREDICT)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> ExamClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """Run a signature on the server, see `Grader.run`."""
        request = predict_request(self.model_name, signature, inputs)
        try:
            return read_answer(self._predict(request, timeout=self.timeout_s))
        except grpc.RpcError as error:
            raise self._translated(error) from error
        except AnswerError as error:
            raise ServingError(
                f"The response of the model server at {self.address} cannot be read: check that it is TensorFlow "
                "Serving."
            ) from error

    def _translated(self, error: Any) -> ServingError:
        code, details = error.code(), (error.details() or "").strip()
        if code == grpc.StatusCode.UNAVAILABLE and FULL_QUEUE in details:
            return ServerBusyError(f"Too many images wait for the model at {self.address}: try again later.")
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServerUnreachableError(
                f"No model server answers at {self.address}: start one with "
                "`breast-density serve MODEL_DIR`, or give the address of one that runs."
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerUnreachableError(
                f"The model server at {self.address} did not respond within {self.timeout_s:g} s: "
                "try again when it is less busy, or allow more time."
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return ModelNotFoundError(
                f"The server at {self.address} serves no model named {self.model_name!r}: "
                "give the name that it was started with."
            )
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            return lacks_signature(f"The model {self.model_name!r} at {self.address}", details)
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            return refused_by_model(details)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" not in details:
            return ServerBusyError(f"The model server at {self.address} is busy ({details}): try again later.")
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return InvalidExamError(
                f"The images of the exam are larger than the server at {self.address} accepts: "
                "send fewer views at once, or preprocess to the model's input size."
            )
        return ServingError(
            f"The model server at {self.address} failed ({code.name}: {details}): see the server's log."
        )
