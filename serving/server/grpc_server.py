"""The gRPC server, with a time limit for request messages that do not arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import model_service_pb2_grpc

from serving.server.core import ServerCore
from serving.server.grpc_service import (
    PREDICTION_SERVICE,
    ModelService,
    PredictionService,
    add_prediction_service,
)
from serving.wire.errors import ServerStartError

_CHECK_SECONDS: Final = 0.5
_CONTROL_WORKERS: Final = 8  # for status, metadata and health while predictions fill the queue
_SERVICES: Final = ("", PREDICTION_SERVICE, "tensorflow.serving.ModelService")


class ReadLimit(grpc.ServerInterceptor):
    """Cancels a call if its request message does not arrive in time.

    gRPC's server lets each such call occupy a thread without limit. It calls a unary handler only after the message
    arrived, so the handler cannot end the wait. On the wire a unary request is a stream of one message. Therefore the
    handlers are registered as handlers of streams, and read one message.
    """

    def __init__(self, seconds: float) -> None:
        """Start the watch.

        Args:
            seconds: Longest time from the headers of a call to the end of its message, s.
        """
        self._seconds = seconds
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._cancel_overdue, name="slow-clients", daemon=True)
        self._watch.start()

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()
        self._watch.join()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Apply the limit to a unary method."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler.unary_unary

        def take_one(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._lock:
                self._waiting[context] = time.monotonic() + self._seconds
            try:
                request = next(requests, None)
            finally:
                with self._lock:
                    del self._waiting[context]
            if request is None:
                context.abort(grpc.StatusCode.INTERNAL, "The call ended without its request message")
            return method(request, context)

        return grpc.stream_unary_rpc_method_handler(take_one, handler.request_deserializer, handler.response_serializer)

    def _cancel_overdue(self) -> None:
        while not self._stopping.wait(min(_CHECK_SECONDS, self._seconds / 2)):
            now = time.monotonic()
            with self._lock:
                late = [context for context, until in self._waiting.items() if until < now]
            for context in late:
                context.cancel()


def cannot_listen(what: str, host: str, port: int) -> ServerStartError:
    """Return the error of a port that cannot be used; ``what`` names the protocol."""
    return ServerStartError(
        f"{what} cannot listen on {host}:{port}: the port is taken or not allowed; choose another, or 0 for a free one."
    )


def start_grpc(core: ServerCore, read_limit: ReadLimit) -> tuple[grpc.Server, int, health.HealthServicer]:
    """Start the gRPC server.

    Args:
        core: The served model within its limits.
        read_limit: Time limit for request messages.

    Returns:
        The server, its port, and its health service.

    Raises:
        ServerStartError: The port cannot be used.
    """
    config, limits = core.config, core.config.limits
    workers = limits.running + limits.queued + _CONTROL_WORKERS
    server = grpc.server(
        futures.ThreadPoolExecutor(workers, thread_name_prefix="grpc"),
        interceptors=[read_limit],
        options=[
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", limits.message_bytes),
            ("grpc.so_reuseport", 0),  # else a second server would share the port unnoticed
        ],
        maximum_concurrent_rpcs=2 * workers,  # further calls are refused before they are read
    )
    add_prediction_service(PredictionService(core), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core.manager), server)
    healthy = health.HealthServicer()
    # Without Watch: its calls have no time limit, so many of them would leave no thread for predictions.
    check = grpc.unary_unary_rpc_method_handler(
        healthy.Check, health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check}),))
    for service in _SERVICES:
        healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    address = f"{config.host}:{config.grpc_port}"
    try:
        if config.tls is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, config.tls.credentials())
    except RuntimeError:
        bound = 0
    if not bound:
        raise cannot_listen("gRPC", config.host, config.grpc_port)
    server.start()
    return server, bound, healthy
