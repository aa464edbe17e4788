"""gRPC calls whose message does not arrive: gRPC's own server would give each a thread for as long as it likes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc

_LOOK_SECONDS: Final = 0.5


class ReadLimit(grpc.ServerInterceptor):
    """Cancels a call whose request message has not arrived whole in time.

    A unary handler is called once its message is there, so it cannot stop the wait. On the wire a unary request is
    a stream of one message: the handlers are registered as taking streams, and take one.
    """

    def __init__(self, seconds: float) -> None:
        """Starts the watch.

        Args:
            seconds: Longest time from the call's headers to the end of its message, s.
        """
        self._seconds = seconds
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._cancel_overdue, name="slow-clients", daemon=True)
        self._watch.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._stopping.set()
        self._watch.join()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Puts the limit before a unary method."""
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
        while not self._stopping.wait(min(_LOOK_SECONDS, self._seconds / 2)):
            now = time.monotonic()
            with self._lock:
                late = [context for context, until in self._waiting.items() if until < now]
            for context in late:
                context.cancel()
