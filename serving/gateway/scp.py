"""The DICOM node: Verification and Storage SCP (DICOM PS3.4 annexes A and B)."""

from __future__ import annotations

import socket
import ssl
import threading
from socketserver import BaseServer
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time
from pynetdicom.transport import ThreadedAssociationServer

from components.dicom.streams.decoders import CODINGS
from serving.gateway.admission import DOES_NOT_MATCH, OUT_OF_RESOURCES, SOP_CLASSES, RefusedInstanceError
from serving.gateway.config import DicomNodeConfig, GatewayConfigError
from serving.gateway.logs import log
from serving.gateway.metered import Meter, MeteredSocket, MeteredTlsSocket
from serving.gateway.spool import SpoolFullError, TooLargeError
from serving.gateway.studies import Studies
from serving.gateway.tls import server_context

CHANNEL: Final = "dicom"
_SUCCESS: Final = 0x0000
_PROCESSING_FAILURE: Final = 0x0110
# Beyond the associations that are allowed, connections that are told so by A-ASSOCIATE-RJ; yet more are just closed.
_SPARE_CONNECTIONS: Final = 8
_OVERHEAD_BYTES: Final = 1 << 20  # of PDUs and commands around a data set


class _Server(ThreadedAssociationServer):
    """Meters connections, shakes hands in the connection's own thread, and bounds how many there are."""

    node: DicomNodeConfig
    budget: int
    tls: ssl.SSLContext | None = None
    daemon_threads = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._opening = 0  # connections that shake hands and are no association yet
        self._opening_lock = threading.Lock()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._opening_lock:
            open_ones = len(self.active_associations) + self._opening
            if open_ones >= self.node.max_associations + _SPARE_CONNECTIONS:
                return False
            self._opening += 1
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._opening_lock:
                self._opening -= 1

    def finish_request(self, request: Any, client_address: Any) -> None:
        metered: socket.socket
        request.settimeout(self.node.idle_seconds)
        if self.tls is None:
            metered = MeteredSocket(fileno=request.detach())
        else:
            metered = self.tls.wrap_socket(request, server_side=True)
        metered.settimeout(self.node.idle_seconds)
        assert isinstance(metered, Meter)
        metered.start(self.budget, self.node.association_seconds)
        super().finish_request(metered, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("DICOM: a connection failed before its association")

    def shutdown(self) -> None:
        # pynetdicom's own also unlists the server from its AE, which lists only those that it started itself.
        BaseServer.shutdown(self)
        self.server_close()


class DicomNode:
    """The node while it runs; stop it."""

    def __init__(self, studies: Studies, config: DicomNodeConfig) -> None:
        """Binds the port; `start` answers.

        Args:
            studies: Where images go.
            config: Titles, address and bounds.

        Raises:
            GatewayConfigError: The port cannot be had, or a TLS file cannot be used.
        """
        self._studies = studies
        self._instance_bytes = studies.config.limits.instance_bytes
        ae = AE(config.ae_title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(config.calling_ae_titles)
        ae.maximum_associations = config.max_associations
        ae.maximum_pdu_size = config.max_pdu_bytes
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = config.idle_seconds
        ae.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            ae.add_supported_context(sop_class, list(CODINGS))
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, self._echo)]
        try:
            self._server = ae.make_server((config.host, config.port), evt_handlers=handlers, server_class=_Server)
        except OSError as error:
            raise GatewayConfigError(
                f"The DICOM node cannot listen on {config.host}:{config.port} ({error.strerror}): choose another port."
            ) from error
        assert isinstance(self._server, _Server)
        self._server.node = config
        self._server.budget = self._instance_bytes * 5 // 4 + _OVERHEAD_BYTES
        if config.tls is not None:
            self._server.tls = server_context(config.tls)
            self._server.tls.sslsocket_class = MeteredTlsSocket
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="dicom", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends all associations and frees the port."""
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort(block=False)
        self._thread.join()

    @staticmethod
    def _renew(event: evt.Event) -> None:
        """The message is dealt with: its sender may send the next."""
        connection = event.assoc.dul.socket
        if connection is not None and isinstance(connection.socket, Meter):
            connection.socket.renew()

    def _echo(self, event: evt.Event) -> int:
        self._renew(event)
        return _SUCCESS

    def _store(self, event: evt.Event) -> int | Dataset:
        """Answers a C-STORE request: success means that the image is on disk."""
        metrics = self._studies.metrics
        try:
            self._take(event)
        except RefusedInstanceError as error:
            metrics.refused.labels(CHANNEL, error.reason).inc()
            log.info("DICOM: an image refused, %s", error.reason)
            return _answer(error.status, error.comment)
        except TooLargeError:
            metrics.refused.labels(CHANNEL, "too_large").inc()
            log.info("DICOM: an image refused, too large")
            return _answer(OUT_OF_RESOURCES, f"Images of up to {self._instance_bytes} bytes are taken.")
        except SpoolFullError as error:
            metrics.refused.labels(CHANNEL, "disk_full").inc()
            log.error("DICOM: an image refused, the disk is full")
            return _answer(OUT_OF_RESOURCES, str(error))
        except Exception:  # whatever happens, the sender must not be told that the image is safe
            metrics.refused.labels(CHANNEL, "error").inc()
            log.exception("DICOM: an image could not be stored")
            return _answer(_PROCESSING_FAILURE, "The gateway could not store the image.")
        finally:
            self._renew(event)
        metrics.accepted.labels(CHANNEL).inc()
        return _SUCCESS

    def _take(self, event: evt.Event) -> None:
        """Writes the data set as it came, behind file meta information of PS3.10 section 7.1, and accepts it."""
        request: Any = event.request
        data = event.encoded_dataset(include_meta=False)
        incoming = self._studies.spool.receive(self._instance_bytes, len(data))
        try:
            incoming.write(bytes(128) + b"DICM" + encode_file_meta(event.file_meta))
            incoming.write(data)
            staged = incoming.finish()
            instance = self._studies.look_at(staged, "image")
            if (instance.sop_uid, instance.sop_class) != (
                str(request.AffectedSOPInstanceUID),
                str(request.AffectedSOPClassUID),
            ):
                message = "image: SOP Class or Instance UID differ from the request's."
                raise RefusedInstanceError("malformed_header", DOES_NOT_MATCH, message)
            self._studies.accept([(staged, instance)])
        finally:
            incoming.discard()


def _answer(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]
    return answer
