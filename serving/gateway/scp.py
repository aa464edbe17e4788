"""The DICOM node: Verification and Storage SCP (DICOM PS3.4 annexes A and B).

pynetdicom reads PDUs and messages of any length into memory, and waits without limit for the rest of a PDU if single
bytes arrive. `Meter` limits both, beyond the needs of a real sender.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from socketserver import BaseServer
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time
from pynetdicom.transport import ThreadedAssociationServer

from components.dicom.streams.decoders import CODINGS
from serving.gateway.admission import DOES_NOT_MATCH, OUT_OF_RESOURCES, SOP_CLASSES, RefusedInstanceError
from serving.gateway.config import DicomNodeConfig, GatewayConfigError, tls_errors
from serving.gateway.monitoring import log
from serving.gateway.spool import SpoolFullError, TooLargeError
from serving.gateway.studies import Studies

CHANNEL: Final = "dicom"
_SUCCESS: Final = 0x0000
_PROCESSING_FAILURE: Final = 0x0110
# This many connections above the limit of associations get an A-ASSOCIATE-RJ; further ones are closed.
_SPARE_CONNECTIONS: Final = 8
_OVERHEAD_BYTES: Final = 1 << 20  # PDUs and commands around a data set


class Meter:
    """Mix-in of a socket: after `start` it reads as closed if its peer sends too much or for too long."""

    _left: float = float("inf")
    _budget: float = float("inf")
    _deadline: float = float("inf")

    def start(self, budget: int, seconds: float) -> None:
        """Set the limits.

        Args:
            budget: Largest number of bytes until `renew`.
            seconds: Longest duration, s.
        """
        self._budget = self._left = budget
        self._deadline = time.monotonic() + seconds

    def renew(self) -> None:
        """Reset the budget after a message."""
        self._left = self._budget

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read as a socket does; return no bytes after a limit is reached."""
        if self._left <= 0 or time.monotonic() > self._deadline:
            return b""
        data: bytes = super().recv(size, flags)  # type: ignore[misc]  # the class that mixes this in is a socket
        self._left -= len(data)
        return data


class MeteredSocket(Meter, socket.socket):
    """A socket with limits."""


class MeteredTlsSocket(Meter, ssl.SSLSocket):  # type: ignore[misc]  # typeshed names the arguments of `recv` otherwise
    """A TLS socket with limits; a context creates it if it is its ``sslsocket_class``."""


class _Server(ThreadedAssociationServer):
    """Meters connections, does the TLS handshake in the thread of the connection, and limits their number."""

    node: DicomNodeConfig
    budget: int
    tls: ssl.SSLContext | None = None
    daemon_threads = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._opening = 0  # connections that are not an association yet
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
        # pynetdicom's own also removes the server from the list of its AE, which only has servers that the AE started.
        BaseServer.shutdown(self)
        self.server_close()


class DicomNode:
    """The DICOM node. Call `stop` at the end."""

    def __init__(self, studies: Studies, config: DicomNodeConfig) -> None:
        """Bind the port; `start` begins to serve.

        Args:
            studies: Studies that receive the images.
            config: Titles, address and limits.

        Raises:
            GatewayConfigError: The port or a TLS file cannot be used.
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
            with tls_errors():
                self._server.tls = config.tls.context()
            self._server.tls.sslsocket_class = MeteredTlsSocket
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="dicom", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End all associations and release the port."""
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort(block=False)
        self._thread.join()

    @staticmethod
    def _renew(event: evt.Event) -> None:
        """Reset the byte budget of the connection, so that the sender may send the next message."""
        connection = event.assoc.dul.socket
        if connection is not None and isinstance(connection.socket, Meter):
            connection.socket.renew()

    def _echo(self, event: evt.Event) -> int:
        self._renew(event)
        return _SUCCESS

    def _store(self, event: evt.Event) -> int | Dataset:
        """Answer a C-STORE request. Success means that the image is on disk."""
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
        except Exception:  # after any error the sender must not believe that the image is stored
            metrics.refused.labels(CHANNEL, "error").inc()
            log.exception("DICOM: an image could not be stored")
            return _answer(_PROCESSING_FAILURE, "The gateway could not store the image.")
        finally:
            self._renew(event)
        metrics.accepted.labels(CHANNEL).inc()
        return _SUCCESS

    def _take(self, event: evt.Event) -> None:
        """Write the data set as received, after file meta information (PS3.10 section 7.1), and accept it."""
        request: Any = event.request
        data = event.encoded_dataset(include_meta=False)
        incoming = self._studies.spool.receive(self._instance_bytes, len(data))
        try:
            incoming.write(bytes(128) + b"DICM" + encode_file_meta(event.file_meta))
            incoming.write(data)
            staged = incoming.finish()
            instance = self._studies.inspect(staged, "image")
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
