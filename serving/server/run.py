"""Starts and stops the local server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.server.errors import ServerStartError
from serving.server.grpc_service import ModelService, PredictionService
from serving.server.manager import ModelManager
from serving.server.rest import RestServer

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
# Room for the base64 of the largest gRPC message.
MAX_BODY_BYTES: Final = MAX_MESSAGE_BYTES * 4 // 3
_WORKERS: Final = 16
_GRACE_SECONDS: Final = 5.0


@contextmanager
def stop_signals(event: threading.Event) -> Iterator[None]:
    """Sets an event on SIGINT and SIGTERM while the context lasts; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RunningServer:
    """The local server while it runs. As a context manager it stops on leaving.

    Attributes:
        grpc_address: ``host:port`` of gRPC.
        rest_address: ``http://host:port`` of REST.
    """

    def __init__(
        self,
        manager: ModelManager,
        grpc_server: grpc.Server,
        rest: RestServer,
        grpc_address: str,
        rest_address: str,
    ) -> None:
        self.grpc_address = grpc_address
        self.rest_address = rest_address
        self._manager = manager
        self._grpc = grpc_server
        self._rest = rest
        self._rest_thread = threading.Thread(target=rest.serve_forever, args=(0.1,), name="rest", daemon=True)
        self._rest_thread.start()
        self._stop_asked = threading.Event()
        self._stop_lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Stops: no new requests, those under way have 5 s to end. A second call does nothing."""
        self._stop_asked.set()
        with self._stop_lock:
            if self._stopped:
                return
            self._stopped = True
            ended = self._grpc.stop(_GRACE_SECONDS)
            self._rest.shutdown()
            self._rest.server_close()
            self._rest_thread.join()
            ended.wait()
            self._manager.stop()

    def wait(self) -> None:
        """Serves until `stop` is called or, in the main thread, SIGINT or SIGTERM comes; then stops."""
        with stop_signals(self._stop_asked):
            self._stop_asked.wait()
            self.stop()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _start_grpc(manager: ModelManager, host: str, port: int) -> tuple[grpc.Server, int]:
    server = grpc.server(
        futures.ThreadPoolExecutor(_WORKERS, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # else a second server would silently share the port
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(manager), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise ServerStartError(
            f"gRPC cannot listen on {host}:{port}: the port is taken or not allowed; "
            "choose another, or 0 for a free one."
        )
    server.start()
    return server, bound


def start_server(
    model_dir: Path | str,
    name: str = "breast_density",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    host: str = "127.0.0.1",
    poll_seconds: float = 1.0,
) -> RunningServer:
    """Loads the newest version and serves it by gRPC and REST.

    Args:
        model_dir: Folder the Pusher writes versions to, or a SavedModel itself.
        name: Name the model is served under.
        grpc_port: Port of gRPC; 0 picks a free one.
        rest_port: Port of REST; 0 picks a free one.
        host: Address to listen on. There is no authentication: keep to the machine itself unless a proxy
            guards it.
        poll_seconds: Time between two looks for new versions, s.

    Returns:
        The running server.

    Raises:
        ServerStartError: Nothing to serve, or a port that cannot be had.
    """
    manager = ModelManager(Path(model_dir), name, poll_seconds)
    manager.start()
    try:
        grpc_server, grpc_bound = _start_grpc(manager, host, grpc_port)
        try:
            rest = RestServer((host, rest_port), manager, MAX_BODY_BYTES)
        except OSError:
            grpc_server.stop(None)
            raise ServerStartError(
                f"REST cannot listen on {host}:{rest_port}: the port is taken or not allowed; "
                "choose another, or 0 for a free one."
            ) from None
    except ServerStartError:
        manager.stop()
        raise
    rest_address = f"http://{host}:{rest.server_address[1]}"
    return RunningServer(manager, grpc_server, rest, f"{host}:{grpc_bound}", rest_address)
