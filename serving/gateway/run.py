"""Start and stop the gateway."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from serving.client.grpc_client import ExamClient, open_channel
from serving.gateway.config import GatewayConfig, GatewayConfigError, ModelServerConfig, read_token, tls_errors
from serving.gateway.forward import Forwarder
from serving.gateway.http_server import STOP_SECONDS, bind_http, web_server
from serving.gateway.monitoring import log
from serving.gateway.scp import DicomNode
from serving.gateway.studies import Studies
from serving.gateway.worker import ConsistentGrader, Worker
from serving.wire.http import ListenError, serve_in_thread
from serving.wire.prediction import MODEL_STATUS, AnswerError, is_available, status_request
from serving.wire.stopping import stop_signals
from serving.wire.tls import ClientTls

_GROUP_SECONDS: Final = 0.25
_CLEAN_SECONDS: Final = 60.0
_READY_SECONDS: Final = 2.0


@dataclass(frozen=True)
class RunningGateway:
    """The gateway while it runs.

    Attributes:
        studies: Its studies.
        http_address: ``http(s)://host:port``.
        dicom_port: Port of the DICOM node; ``None`` if it is disabled.
    """

    studies: Studies
    http_address: str
    dicom_port: int | None


class _Housekeeper(threading.Thread):
    """Queues studies that are due, and deletes data after their retention time."""

    def __init__(self, studies: Studies, stopping: threading.Event) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._studies = studies
        self._stopping = stopping

    def run(self) -> None:
        cleaned = float("-inf")
        while not self._stopping.wait(_GROUP_SECONDS):
            try:
                self._studies.group()
                if time.monotonic() - cleaned >= _CLEAN_SECONDS:
                    cleaned = time.monotonic()
                    self._studies.clean()
            except Exception:  # from the disk: accepted images stay, and the next round tries again
                log.exception("housekeeping: the spool cannot be used")
                self._stopping.wait(1.0)


def _credentials(tls: ClientTls | None) -> grpc.ChannelCredentials | None:
    if tls is None:
        return None
    with tls_errors():
        return tls.credentials()


def model_readiness(config: ModelServerConfig) -> Callable[[], bool]:
    """Return a function that asks the server if a version of the model is available (GetModelStatus).

    Raises:
        GatewayConfigError: A TLS file cannot be used.
    """
    credentials = _credentials(config.tls)

    def is_ready() -> bool:
        with open_channel(config.address, credentials) as channel:
            try:
                return is_available(channel.unary_unary(MODEL_STATUS)(status_request(config.name), _READY_SECONDS))
            except (grpc.RpcError, AnswerError):
                return False

    return is_ready


@contextmanager
def running_gateway(config: GatewayConfig, environ: Mapping[str, str]) -> Iterator[RunningGateway]:
    """Run the gateway within the context.

    Args:
        config: Configuration of the gateway.
        environ: Environment with the tokens.

    Raises:
        GatewayConfigError: A token, TLS file, address or port cannot be used.
        SpoolError: The spool cannot be used.
    """
    token = read_token(config.http.token_variable, environ)
    stopping = threading.Event()
    with ExitStack() as stack:
        studies = Studies(config)
        stack.callback(studies.close)
        model = config.model
        client = stack.enter_context(ExamClient(model.address, model.name, model.timeout_s, _credentials(model.tls)))
        threads: list[threading.Thread] = [_Housekeeper(studies, stopping)]
        threads += [Forwarder(studies, destination, environ, stopping) for destination in config.destinations]
        grader = ConsistentGrader(client)
        threads += [Worker(studies, grader, stopping, number) for number in range(config.grading.workers)]
        is_ready = model_readiness(model)
        listening = stack.enter_context(bind_http(config.http))
        server = web_server(config.http, studies, token, is_ready)
        node = None if config.dicom is None else DicomNode(studies, config.dicom)
        try:
            web = serve_in_thread(server, listening)
        except ListenError:
            raise GatewayConfigError("HTTP does not start: correct http in the configuration.") from None

        def stop() -> None:
            """Stop the receivers, then the workers. Work that does not end in time continues after the next start."""
            if node is not None:
                node.stop()
            server.should_exit = True
            web.join(2 * STOP_SECONDS)
            stopping.set()
            studies.wake()
            for thread in threads:
                thread.join(STOP_SECONDS)

        stack.callback(stop)
        for thread in threads:
            thread.start()
        if node is not None:
            node.start()
        scheme = "http" if config.http.tls is None else "https"
        port = listening.getsockname()[1]
        yield RunningGateway(studies, f"{scheme}://{config.http.host}:{port}", None if node is None else node.port)


def run_gateway(config: GatewayConfig, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Run the gateway until SIGINT or SIGTERM.

    Args:
        config: Configuration of the gateway.
        environ: Environment with the tokens.
        say: Shows a line to the user.

    Raises:
        GatewayConfigError: A token, TLS file, address or port cannot be used.
        SpoolError: The spool cannot be used.
    """
    stop_asked = threading.Event()
    with stop_signals(stop_asked), running_gateway(config, environ) as gateway:
        where = [f"HTTP {gateway.http_address}"]
        if config.dicom is not None:
            where.insert(0, f"DICOM node {config.dicom.ae_title} on {config.dicom.host}:{gateway.dicom_port}")
        say(f"gateway: {', '.join(where)}, grades from {config.model.address}")
        stop_asked.wait()
