"""Start and stop the local server."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from serving.server.config import ServedModel, ServerConfig
from serving.server.core import ServerCore
from serving.server.grpc_server import ReadLimit, cannot_listen, start_grpc
from serving.server.http_server import RestServer
from serving.server.manager import ConfigWatch, ModelManager
from serving.wire.errors import ServerStartError
from serving.wire.http import ListenError
from serving.wire.stopping import stop_signals
from serving.wire.tls import ServerTls

_GRACE_SECONDS: Final = 5.0


class RunningServer:
    """The local server while it runs. As a context manager it stops at the end of the context.

    Attributes:
        grpc_address: ``host:port`` of gRPC.
        rest_address: ``http://host:port`` of REST, ``https`` with TLS.
        core: Runs the predictions of both.
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
        """Stop the server. Running requests have 5 s to end. A second call does nothing."""
        self._stop_asked.set()
        with self._stop_lock:
            if not self._stopped:
                self._stopped = True
                self._stop()

    def wait(self) -> bool:
        """Serve until `stop` is called or, in the main thread, until SIGINT or SIGTERM; then stop.

        Returns:
            True if no prediction runs any more. Otherwise Python would wait for it at the end of the process.
        """
        with stop_signals(self._stop_asked):
            self._stop_asked.wait()
            self.stop()
        return self.core.stop()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _tls_context(tls: ServerTls) -> ssl.SSLContext:
    try:
        return tls.context()
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ServerStartError(
            f"The TLS files cannot be used ({type(error).__name__}: {error}): give a PEM certificate, its own key "
            "without a passphrase, and the PEM certificates of the client authorities."
        ) from None


def run_server(config: ServerConfig) -> RunningServer:
    """Load the selected versions and serve them by gRPC and REST.

    Args:
        config: Configuration of the server.

    Returns:
        The running server.

    Raises:
        ServerStartError: No version can be served, or certificates or a port cannot be used.
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
        grpc_server, grpc_port, healthy = start_grpc(core, read_limit)
        undo.callback(lambda: grpc_server.stop(None).wait())
        try:
            rest = RestServer(config.host, config.rest_port, core, tls, _GRACE_SECONDS)
        except ListenError:
            raise cannot_listen("REST", config.host, config.rest_port) from None

        def stop_listening() -> None:
            healthy.enter_graceful_shutdown()
            until = time.monotonic() + _GRACE_SECONDS
            ended = grpc_server.stop(_GRACE_SECONDS)
            rest.begin_stop()
            ended.wait()
            rest.join(max(0.0, until - time.monotonic()))

        undo.callback(stop_listening)
        scheme = "http" if tls is None else "https"
        return RunningServer(
            f"{config.host}:{grpc_port}",
            f"{scheme}://{config.host}:{rest.port}",
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
    """Serve the newest version in a folder with default settings, see `run_server` and `ServerConfig`.

    Raises:
        ServerStartError: No version can be served, or a port cannot be used.
    """
    model = ServedModel(base_path=Path(model_dir), name=name)
    return run_server(
        ServerConfig(model=model, grpc_port=grpc_port, rest_port=rest_port, host=host, poll_seconds=poll_seconds)
    )
