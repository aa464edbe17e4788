"""Starts and stops the gateway."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import uvicorn

from serving.client.grpc_client import ExamClient, open_channel
from serving.gateway.app import create_app
from serving.gateway.config import GatewayConfig, GatewayConfigError, HttpConfig, ModelServerConfig, read_token
from serving.gateway.forward import Forwarder
from serving.gateway.logs import log
from serving.gateway.prompt_http import prompt_protocol
from serving.gateway.scp import DicomNode
from serving.gateway.studies import Studies
from serving.gateway.tls import peer_credentials
from serving.gateway.worker import ConsistentGrader, Worker

_GROUP_SECONDS: Final = 0.25
_CLEAN_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_READY_SECONDS: Final = 2.0


@dataclass(frozen=True)
class RunningGateway:
    """The gateway while it runs.

    Attributes:
        studies: Its studies.
        http_address: ``http(s)://host:port``.
        dicom_port: Port of the DICOM node, ``None`` without one.
    """

    studies: Studies
    http_address: str
    dicom_port: int | None


class _Housekeeper(threading.Thread):
    """Groups images to exams, and deletes what is kept no longer."""

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
            except Exception:  # of the disk; what is accepted stays, and is looked at again
                log.exception("housekeeping: the spool cannot be used")
                self._stopping.wait(1.0)


def model_readiness(config: ModelServerConfig) -> Callable[[], bool]:
    """Makes the question whether a version of the model is available (TensorFlow Serving's GetModelStatus)."""
    credentials = None if config.tls is None else peer_credentials(config.tls)

    def is_ready() -> bool:
        from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = config.name
        with open_channel(config.address, credentials) as channel:
            try:
                answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, _READY_SECONDS)
            except grpc.RpcError:
                return False
        states = {status.state for status in answer.model_version_status}
        return get_model_status_pb2.ModelVersionStatus.AVAILABLE in states

    return is_ready


def _listening(config: HttpConfig) -> socket.socket:
    """Binds the port, so that 0 is known before anything is served."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((config.host, config.port))
    except OSError as error:
        found.close()
        raise GatewayConfigError(
            f"HTTP cannot listen on {config.host}:{config.port} ({error.strerror}): choose another port."
        ) from error
    return found


def _web_server(config: HttpConfig, studies: Studies, token: str, is_ready: Callable[[], bool]) -> uvicorn.Server:
    tls = config.tls
    settings = uvicorn.Config(
        create_app(studies, token, is_ready),
        http=prompt_protocol(config.idle_seconds),
        ws="none",
        proxy_headers=False,
        log_config=None,  # its own would log every path
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=config.max_connections,
        timeout_graceful_shutdown=int(_STOP_SECONDS),
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
        ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
        ssl_cert_reqs=2 if tls and tls.client_ca else 0,  # ssl.CERT_REQUIRED, ssl.CERT_NONE
    )
    return uvicorn.Server(settings)


@contextmanager
def running_gateway(config: GatewayConfig, environ: Mapping[str, str]) -> Iterator[RunningGateway]:
    """Runs the gateway while the context lasts.

    Args:
        config: Its configuration.
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
        credentials = None if model.tls is None else peer_credentials(model.tls)
        client = stack.enter_context(ExamClient(model.address, model.name, model.timeout_s, credentials))
        threads: list[threading.Thread] = [_Housekeeper(studies, stopping)]
        threads += [Forwarder(studies, destination, environ, stopping) for destination in config.destinations]
        grader = ConsistentGrader(client)
        threads += [Worker(studies, grader, stopping, number) for number in range(config.grading.workers)]
        is_ready = model_readiness(model)
        listening = stack.enter_context(_listening(config.http))
        server = _web_server(config.http, studies, token, is_ready)
        web = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http", daemon=True)

        node = None if config.dicom is None else DicomNode(studies, config.dicom)

        def stop() -> None:
            """New work first, then what is under way; what does not end in time goes on after the next start."""
            if node is not None:
                node.stop()
            server.should_exit = True
            web.join(2 * _STOP_SECONDS)
            stopping.set()
            studies.wake()
            for thread in threads:
                thread.join(_STOP_SECONDS)

        stack.callback(stop)
        for thread in (*threads, web):
            thread.start()
        if node is not None:
            node.start()
        while not server.started:
            if not web.is_alive():
                raise GatewayConfigError("HTTP does not start: correct http in the configuration.")
            time.sleep(0.01)
        scheme = "http" if config.http.tls is None else "https"
        port = listening.getsockname()[1]
        yield RunningGateway(studies, f"{scheme}://{config.http.host}:{port}", None if node is None else node.port)


def run_gateway(config: GatewayConfig, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Runs the gateway until SIGINT or SIGTERM.

    Args:
        config: Its configuration.
        environ: Environment with the tokens.
        say: Shows a line to the user.

    Raises:
        GatewayConfigError: A token, TLS file, address or port cannot be used.
        SpoolError: The spool cannot be used.
    """
    from serving.server.run import stop_signals

    stop_asked = threading.Event()
    with stop_signals(stop_asked), running_gateway(config, environ) as gateway:
        where = [f"HTTP {gateway.http_address}"]
        if config.dicom is not None:
            where.insert(0, f"DICOM node {config.dicom.ae_title} on {config.dicom.host}:{gateway.dicom_port}")
        say(f"gateway: {', '.join(where)}, grades from {config.model.address}")
        stop_asked.wait()
