"""Send results to each destination independently, until it has them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context

from components.dicom.bounded_stream import parse_object
from serving.gateway.config import Destination, DicomDestination, StowDestination, read_token, tls_errors
from serving.gateway.monitoring import log
from serving.gateway.outcome import kind_of
from serving.gateway.studies import Studies
from serving.gateway.worker import POLL_SECONDS

_OUR_TITLE: Final = "BREASTDENSITY"
_SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


class DeliveryError(Exception):
    """A destination did not accept all results. The message is one sentence without patient identity."""


def send_by_dicom(objects: Sequence[FileDataset], destination: DicomDestination, our_title: str) -> None:
    """Send objects by C-STORE.

    Args:
        objects: Objects to send.
        destination: The DICOM node.
        our_title: AE title of the gateway.

    Raises:
        DeliveryError: The node did not accept all objects.
        GatewayConfigError: A TLS file cannot be used.
    """
    ae = AE(our_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = destination.timeout_s
    ae.connection_timeout = destination.timeout_s
    contexts = {
        (str(item.SOPClassUID), str(syntax))
        for item in objects
        for syntax in ({str(item.file_meta.TransferSyntaxUID)} | set(map(str, _SYNTAXES)))
    }
    tls = None
    if destination.tls is not None:
        with tls_errors():
            tls = (destination.tls.context(), destination.host)
    association = ae.associate(
        destination.host,
        destination.port,
        contexts=[build_context(sop_class, syntax) for sop_class, syntax in sorted(contexts)],
        ae_title=destination.ae_title,
        tls_args=tls,
    )
    if not association.is_established:
        # pynetdicom cannot always tell which: a node that refuses often closes the connection at once.
        raise DeliveryError("The DICOM node does not answer or refuses the call: check host, port and AE titles.")
    try:
        for item in objects:
            try:
                status = association.send_c_store(item)
            except ValueError as error:  # no context, or the data set cannot be written in the accepted syntax
                raise DeliveryError(f"The DICOM node does not take {item.SOPClassUID.name}.") from error
            code = status.get("Status")
            if code is None:
                raise DeliveryError("The DICOM node ended the association before it took all results.")
            # With a warning (PS3.4 table B.2-1) the object is stored.
            if code != 0x0000 and not 0xB000 <= code <= 0xBFFF:
                raise DeliveryError(f"The DICOM node answers {item.SOPClassUID.name} with status 0x{code:04X}.")
    finally:
        if association.is_established:
            association.release()


def send_by_stow(objects: Sequence[Dataset], destination: StowDestination, token: str) -> None:
    """Send objects by STOW-RS.

    Args:
        objects: Objects to send.
        destination: The DICOMweb service.
        token: Bearer token; empty sends none.

    Raises:
        DeliveryError: The service did not accept all objects.
    """
    with requests.Session() as session:
        session.trust_env = False  # no proxy for images of patients, and no .netrc that overrides the token
        tls = destination.tls
        session.verify = str(tls.ca) if tls is not None and tls.ca is not None else True
        if tls is not None and tls.certificate is not None:
            session.cert = (str(tls.certificate), str(tls.key))
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        session.headers["Accept"] = "application/dicom+json"
        client = DICOMwebClient(destination.url, session, timeout=destination.timeout_s, permissive_uid=True)
        client.set_http_retry_params(retry=False)  # the gateway retries by itself, also after a restart
        try:
            answer = client.store_instances(objects)
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            raise DeliveryError(f"The DICOMweb service answers with HTTP status {code}.") from error
        except requests.RequestException as error:
            raise DeliveryError(f"The DICOMweb service does not answer ({type(error).__name__}).") from error
    failed = answer.get("FailedSOPSequence") or ()
    if failed:
        code = failed[0].get("FailureReason", 0)
        raise DeliveryError(f"The DICOMweb service refused {len(failed)} results, the first with 0x{code:04X}.")
    stored = {str(item.get("ReferencedSOPInstanceUID", "")) for item in answer.get("ReferencedSOPSequence") or ()}
    missing = {str(item.SOPInstanceUID) for item in objects} - stored
    if missing:  # status 200 does not prove that they are stored
        raise DeliveryError(f"The DICOMweb service does not say that it stored {len(missing)} of the results.")


class Forwarder(threading.Thread):
    """One thread that sends results to one destination until the gateway stops."""

    def __init__(
        self, studies: Studies, destination: Destination, environ: Mapping[str, str], stopping: threading.Event
    ) -> None:
        """Prepare the thread.

        Args:
            studies: Studies whose results are sent.
            destination: Destination of the results.
            environ: Environment with the token of the destination.
            stopping: Set when the gateway stops.

        Raises:
            GatewayConfigError: The destination's token or TLS files cannot be read.
        """
        super().__init__(name=f"forward-{destination.name}", daemon=True)
        self._studies = studies
        self._destination = destination
        self._stopping = stopping
        self._token = ""
        if isinstance(destination, StowDestination) and destination.token_variable:
            how = f"set it to the token that destination {destination.name} asks for, or leave token_variable out"
            self._token = read_token(destination.token_variable, environ, how)
        if destination.tls is not None:
            with tls_errors():  # check the files at the start
                destination.tls.context()
        own = studies.config.dicom
        self._our_title = own.ae_title if own is not None else _OUR_TITLE

    def run(self) -> None:
        """Send the results that are due."""
        while not self._stopping.is_set():
            try:
                if self._send_next():
                    continue
            except Exception:  # from the spool: the delivery stays recorded, and is tried again
                log.exception("delivery to %s: the spool cannot be used", self._destination.name)
                self._stopping.wait(1.0)
            with self._studies.work:
                self._studies.work.wait(POLL_SECONDS)

    def _send_next(self) -> bool:
        studies, name = self._studies, self._destination.name
        claim = studies.store.due_delivery(name, studies.now())
        if claim is None:
            return False
        try:
            self._send(studies.spool.results(claim.key, claim.revision))
        except Exception as error:
            attempts = claim.attempts + 1
            problem = (
                str(error) if isinstance(error, DeliveryError) else f"The delivery broke ({type(error).__name__})."
            )
            wait = studies.config.retry.wait(attempts)
            studies.store.delivery_failed(claim, name, problem, studies.now() + wait)
            studies.metrics.sent.labels(name, "failed").inc()
            log.warning("study %s: not delivered to %s, attempt %d: %s", claim.key, name, attempts, problem)
            return True
        studies.store.delivered(claim, name, studies.now())
        studies.metrics.sent.labels(name, "delivered").inc()
        log.info("study %s: delivered to %s", claim.key, name)
        return True

    def _send(self, folder: Path) -> None:
        wanted = self._destination.send
        files = [path for path in sorted(folder.iterdir()) if kind_of(path.name) in wanted]
        objects = [parse_object(path) for path in files]
        if not objects:
            return
        if isinstance(self._destination, DicomDestination):
            send_by_dicom(objects, self._destination, self._our_title)
        else:
            send_by_stow(objects, self._destination, self._token)
