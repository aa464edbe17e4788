"""Starts and stops the local server."""

from __future__ import annotations

import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import model_service_pb2_grpc

from serving.server.config import ServedModel, ServerConfig, ServerTls
from serving.server.config_watch import ConfigWatch
from serving.server.core import ServerCore
from serving.server.grpc_service import (
    PREDICTION_SERVICE,
    ModelService,
    PredictionService,
    add_prediction_service,
)
from serving.server.http_server import RestServer
from serving.server.manager import ModelManager
from serving.server.slow_clients import ReadLimit
from serving.wire.errors import ServerStartError

_CONTROL_WORKERS: Final = 8  # for status, metadata and health while predictions fill the queue
_GRACE_SECONDS: Final = 5.0
_SERVICES: Final = ("", PREDICTION_SERVICE, "tensorflow.serving.ModelService")


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
        rest_address: ``http://host:port`` of REST, ``https`` with TLS.
        core: What answers both.
    """

    def __init__(self, grpc_address: str, rest_address: str, core: ServerCore, stop: Callable[[], None]) -> None:
        self.core = core
        self.grpc_address = grpc_address
        self.rest_address = rest_address
        self._stop = stop
        self._stop_asked = threading.Event()
        self._stop_lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Stops: no new requests, those under way have 5 s to end. A second call does nothing."""
        self._stop_asked.set()
        with self._stop_lock:
            if not self._stopped:
                self._stopped = True
                self._stop()

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


def _tls_context(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")  # else OpenSSL asks at the terminal
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ServerStartError(
            f"The TLS files cannot be used ({type(error).__name__}: {error}): give a PEM certificate, its own key "
            "without a passphrase, and the PEM certificates of the client authorities."
        ) from None
    return context


def _grpc_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    ca = None if tls.client_ca is None else tls.client_ca.read_bytes()
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def _cannot_listen(what: str, host: str, port: int) -> ServerStartError:
    return ServerStartError(
        f"{what} cannot listen on {host}:{port}: the port is taken or not allowed; choose another, or 0 for a free one."
    )


def _start_grpc(core: ServerCore, read_limit: ReadLimit) -> tuple[grpc.Server, int, health.HealthServicer]:
    config, limits = core.config, core.config.limits
    workers = limits.running + limits.queued + _CONTROL_WORKERS
    server = grpc.server(
        futures.ThreadPoolExecutor(workers, thread_name_prefix="grpc"),
        interceptors=[read_limit],
        options=[
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", limits.message_bytes),
            ("grpc.so_reuseport", 0),  # else a second server would silently share the port
        ],
        maximum_concurrent_rpcs=2 * workers,  # beyond it calls are refused unread
    )
    add_prediction_service(PredictionService(core), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core.manager), server)
    healthy = health.HealthServicer()
    # Without Watch, whose calls last as long as the client likes: enough of them would leave no room for predictions.
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
            bound = server.add_secure_port(address, _grpc_credentials(config.tls))
    except RuntimeError:
        bound = 0
    if not bound:
        raise _cannot_listen("gRPC", config.host, config.grpc_port)
    server.start()
    return server, bound, healthy


def run_server(config: ServerConfig) -> RunningServer:
    """Loads the versions asked for and serves them by gRPC and REST.

    Args:
        config: The server.

    Returns:
        The running server.

    Raises:
        ServerStartError: Nothing to serve, certificates that cannot be used, or a port that cannot be had.
    """
    tls = None if config.tls is None else _tls_context(config.tls)
    with ExitStack() as undo:
        manager = ModelManager(config.model, config.poll_seconds)
        manager.start()
        undo.callback(manager.stop)
        if config.model_config_file is not None and config.model_config_poll_seconds:
            watch = ConfigWatch(config.model_config_file, manager, config.model_config_poll_seconds)
            undo.callback(watch.stop)
        core = ServerCore(manager, config)
        undo.callback(core.stop)
        read_limit = ReadLimit(config.limits.read_seconds)
        undo.callback(read_limit.stop)
        grpc_server, grpc_port, healthy = _start_grpc(core, read_limit)
        undo.callback(lambda: grpc_server.stop(None).wait())
        try:
            rest = RestServer((config.host, config.rest_port), core, tls)
        except OSError:
            raise _cannot_listen("REST", config.host, config.rest_port) from None
        thread = threading.Thread(target=rest.serve_forever, args=(0.1,), name="rest", daemon=True)
        thread.start()

        def stop_listening() -> None:
            healthy.enter_graceful_shutdown()
            until = time.monotonic() + _GRACE_SECONDS
            ended = grpc_server.stop(_GRACE_SECONDS)
            rest.shutdown()
            rest.server_close()
            thread.join()
            ended.wait()
            rest.drain(max(0.0, until - time.monotonic()))

        undo.callback(stop_listening)
        scheme = "http" if tls is None else "https"
        return RunningServer(
            f"{config.host}:{grpc_port}",
            f"{scheme}://{config.host}:{rest.server_address[1]}",
            core,
            undo.pop_all().close,
        )


def start_server(
    model_dir: Path | str,
    name: str = "breast_density",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    host: str = "127.0.0.1",
    poll_seconds: float = 1.0,
) -> RunningServer:
    """Serves the newest version under a folder, all else at its default; see `run_server` and `ServerConfig`.

    Raises:
        ServerStartError: Nothing to serve, or a port that cannot be had.
    """
    model = ServedModel(base_path=Path(model_dir), name=name)
    return run_server(
        ServerConfig(model=model, grpc_port=grpc_port, rest_port=rest_port, host=host, poll_seconds=poll_seconds)
    )
